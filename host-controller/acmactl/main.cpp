// SPDX-License-Identifier: Apache-2.0
// acmactl: what operators ask of acma-controller.
#include <charconv>
#include <cstdio>
#include <exception>
#include <functional>
#include <optional>

#include <CLI/CLI.hpp>

#include "host-controller/acmactl/commands.h"
#include "host-controller/acmactl/replay.h"
#include "host-controller/acmactl/simulate.h"
#include "host-controller/metadata/policy_patch.h"
#include "host-controller/meter/period.h"

namespace acma::ctl {
namespace {

// Policy fields come as text and are read by the same code as metadata.
struct PolicyTexts {
    std::optional<std::string> min_mem;
    std::optional<std::string> max_mem;
    std::optional<std::string> psi;
    std::optional<std::string> shares;
    std::optional<std::string> mode;
};

Result<proto::PolicyChange> read_change(const PolicyTexts& texts) {
    proto::PolicyChange change;
    const std::pair<const char*, const std::optional<std::string>&> fields[] = {
        {"min-mem", texts.min_mem}, {"max-mem", texts.max_mem}, {"psi", texts.psi},
        {"shares", texts.shares},   {"mode", texts.mode},
    };
    bool any = false;
    for (const auto& [name, text] : fields) {
        if (!text) {
            continue;
        }
        any = true;
        if (const Status set = host::set_field(change, name, *text); !set) {
            return set.error().in(std::string("--") + name).in("set");
        }
    }
    if (!any) {
        return Error{ErrorCode::invalid,
                     "set: give at least one of --min-mem, --max-mem, --psi, --shares, --mode"};
    }
    if (change.min_mem && *change.min_mem < k_least_min_mem) {
        return Error{ErrorCode::invalid, "set: --min-mem " + human(*change.min_mem) + " is below " +
                                             human(k_least_min_mem) +
                                             ", the least a guest can live on"};
    }
    return change;
}

struct ReserveTexts {
    std::optional<std::string> size, domain;
    double for_s = 300;
    uint64_t free = 0;
    ReserveOptions options;
};

Exit run_reserve(const Target& target, const ReserveTexts& texts) {
    if (texts.free != 0) {
        return give_up(target, texts.free);
    }
    if (!texts.size) {
        return reservations(target);
    }
    const Result<Bytes> size = parse_size(*texts.size);
    if (!size) {
        std::fprintf(stderr, "acmactl: reserve: %s\n", size.error().message.c_str());
        return Exit::usage;
    }
    return reserve(target, {*size, texts.domain, Micros(static_cast<int64_t>(texts.for_s * 1e6))},
                   texts.options);
}

Exit run_set(const Target& target, const std::string& domain, const PolicyTexts& texts) {
    const Result<proto::PolicyChange> change = read_change(texts);
    if (!change) {
        std::fprintf(stderr, "acmactl: %s\n", change.error().message.c_str());
        return Exit::usage;
    }
    return set(target, domain, *change);
}

int run(int argc, char** argv) {
    CLI::App app{"Shows and sets how much memory the virtual machines of this host have."};
    app.name("acmactl");
    app.set_version_flag("--version", std::string("acmactl " ACMA_VERSION));
    app.require_subcommand(1);
    app.fallthrough();  // --socket and --json may stand after the verb

    Target target;
    app.add_option("--socket", target.socket, "The controller's socket")
        ->envname("ACMA_SOCKET")
        ->capture_default_str();

    std::string domain;
    PolicyTexts texts;
    TopOptions top_options;
    UsageOptions usage_options;
    std::function<Exit()> chosen;
    const auto verb = [&app, &chosen](const char* name, const char* help,
                                      std::function<Exit()> action) {
        CLI::App* command = app.add_subcommand(name, help);
        command->callback([&chosen, action = std::move(action)] { chosen = action; });
        return command;
    };
    const auto takes_domain = [&domain](CLI::App* command) {
        command->add_option("DOM", domain, "Domain: its id, UUID or name")->required();
    };
    const auto takes_json = [&target](CLI::App* command) {
        command->add_flag("--json", target.json, "Print JSON");
    };

    takes_json(verb("list", "All running domains", [&target] { return list(target); }));
    CLI::App* show_verb =
        verb("show", "One domain", [&target, &domain] { return show(target, domain); });
    takes_domain(show_verb);
    takes_json(show_verb);
    CLI::App* explain_verb = verb("explain", "The last decisions about a domain",
                                  [&target, &domain] { return explain(target, domain); });
    takes_domain(explain_verb);
    takes_json(explain_verb);
    CLI::App* set_verb =
        verb("set", "Set a domain's policy; what is not given stays",
             [&target, &domain, &texts] { return run_set(target, domain, texts); });
    takes_domain(set_verb);
    set_verb->add_option("--min-mem", texts.min_mem, "Bounds scale-down, such as 512MiB");
    set_verb->add_option("--max-mem", texts.max_mem, "Never more, such as 4GiB");
    set_verb->add_option("--psi", texts.psi, "Acceptable memory pressure, such as 0.1%");
    set_verb->add_option("--shares", texts.shares, "Weight against other domains (1000)");
    set_verb->add_option("--mode", texts.mode, "auto, observe or off");
    CLI::App* usage_verb = verb("usage", "Memory used over time, for all domains or one",
                                [&target, &usage_options] { return usage(target, usage_options); });
    usage_verb
        ->add_option("DOM", usage_options.domain,
                     "Domain: its UUID or last name; the id of a running one")
        ->check([](const std::string& text) {
            return std::string(text.empty() ? "DOM must not be empty" : "");
        });
    const CLI::Validator moment(
        [](const std::string& text) {
            const auto read = host::parse_moment(text, Micros(0));
            return read ? std::string() : read.error().message;
        },
        "");
    usage_verb->add_option("--since", usage_options.since, "From then on; 24h")
        ->type_name("TIME")
        ->check(moment);
    usage_verb->add_option("--until", usage_options.until, "Until then; now")
        ->type_name("TIME")
        ->check(moment);
    takes_json(usage_verb);
    usage_verb->add_flag("--csv", target.csv, "Print CSV")->excludes("--json");
    CLI::App* top_verb = verb("top", "All running domains, again and again",
                              [&target, &top_options] { return top(target, top_options); });
    takes_json(top_verb);
    const CLI::Validator seconds(
        [](std::string& text) {
            double value = 0;
            // CLI::Range takes "nan".
            const bool good =
                CLI::detail::lexical_cast(text, value) && value >= 0.1 && value <= 3600;
            return good ? "" : "'" + text + "' is not between 0.1 and 3600 seconds";
        },
        "");
    top_verb->add_option("--interval", top_options.interval_s, "Seconds between refreshes")
        ->check(seconds)
        ->capture_default_str();
    top_verb->add_option("--count", top_options.count, "End after this many; 0: never")
        ->check(CLI::Range(uint64_t{0}, uint64_t{1'000'000'000}));

    std::string sort_word;
    top_verb
        ->add_option("--sort", sort_word,
                     "By host bytes, name, psi or target: host, name, psi, target")
        ->check(CLI::IsMember({"host", "name", "psi", "target"}))
        ->each([&top_options](const std::string& word) {
            top_options.sort = parse_sort(word).value_or(SortBy::host);
        });

    bool all = false;
    CLI::App* release_verb =
        verb("release", "Give a domain all its RAM, with mode off from then on",
             [&target, &domain, &all] {
                 if (domain.empty() == !all) {
                     std::fprintf(stderr, "acmactl: release: give DOM, or --all\n");
                     return Exit::usage;
                 }
                 return release(target, domain);
             });
    release_verb->add_option("DOM", domain, "Domain: its id, UUID or name");
    release_verb->add_flag("--all", all, "All domains that have a policy");
    takes_json(release_verb);
    takes_json(
        verb("pause", "Change nothing until resumed", [&target] { return pause(target, true); }));
    takes_json(verb("resume", "After pause", [&target] { return pause(target, false); }));

    ReserveTexts reserve_texts;
    CLI::App* reserve_verb =
        verb("reserve", "Keep memory free for a VM that is to come; without SIZE: what is reserved",
             [&target, &reserve_texts] { return run_reserve(target, reserve_texts); });
    takes_json(reserve_verb);
    reserve_verb->add_option("SIZE", reserve_texts.size, "How much, such as 4GiB");
    reserve_verb
        ->add_option("--domain", reserve_texts.domain,
                     "Name or UUID of the domain whose start uses it up")
        ->needs("SIZE");
    const CLI::Validator day = CLI::Range(1.0, 86400.0);
    reserve_verb->add_option("--for", reserve_texts.for_s, "Seconds after which it ends unused")
        ->check(day)
        ->needs("SIZE")
        ->capture_default_str();
    reserve_verb
        ->add_option("--wait", reserve_texts.options.wait_s,
                     "Seconds to wait until VMs have given up enough; then it is given up")
        ->check(day)
        ->needs("SIZE");
    reserve_verb->add_option("--free", reserve_texts.free, "Give up the reservation of this number")
        ->check([](const std::string& text) {
            uint64_t number = 0;
            const auto [end, error] =
                std::from_chars(text.data(), text.data() + text.size(), number);
            const bool good =
                error == std::errc() && end == text.data() + text.size() && number > 0;
            return good ? "" : "'" + text + "' is not the number of a reservation";
        })
        ->excludes("SIZE");

    SimulateOptions simulate_options;
    CLI::App* simulate_verb =
        verb("simulate", "A scenario on a simulated host, under ours and others' policies",
             [&target, &simulate_options] {
                 simulate_options.json = target.json;
                 return simulate(simulate_options);
             });
    simulate_verb->add_option("SCENARIO", simulate_options.scenario, "--list names them");
    simulate_verb->add_flag("--list", simulate_options.list, "Lists the scenarios");
    simulate_verb->add_option("--policy", simulate_options.policy,
                              "Only acma, mom, proxmox or static");
    simulate_verb->add_option("--seed", simulate_options.seed, "Of what is left to chance")
        ->check([](const std::string& text) {
            // CLI11 takes -1 for the largest there is.
            return std::string(text.starts_with('-') ? "'" + text + "' is below 0" : "");
        })
        ->capture_default_str();
    takes_json(simulate_verb);

    ReplayOptions replay_options;
    CLI::App* replay_verb = verb("replay", "A decision log under ours and others' policies",
                                 [&target, &replay_options] {
                                     replay_options.json = target.json;
                                     return replay(replay_options);
                                 });
    replay_verb->add_option("FILE", replay_options.files, "The log; FILE.1 FILE for both files")
        ->required();
    replay_verb->add_option("--policy", replay_options.policy, "Only acma, mom, proxmox or static");
    takes_json(replay_verb);

    app.failure_message([](const CLI::App* of, const CLI::Error& error) {
        return "acmactl: " + std::string(error.what()) + "\nRun acmactl " +
               (of->get_name() == "acmactl" ? "" : of->get_name() + " ") +
               "--help for more information.\n";
    });
    const auto named = [word = std::string(argc > 1 ? argv[1] : "-")](const CLI::App* command) {
        return command->get_name() == word;
    };
    if (argc > 1 && argv[1][0] != '-' && app.get_subcommands(named).empty()) {
        std::fprintf(stderr, "acmactl: there is no verb '%s'; acmactl --help lists them\n",
                     argv[1]);
        return static_cast<int>(Exit::usage);
    }
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : static_cast<int>(Exit::usage);
    }
    return static_cast<int>(chosen());
}

}  // namespace
}  // namespace acma::ctl

int main(int argc, char** argv) {
    try {
        return acma::ctl::run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "acmactl: %s\n", error.what());
        return static_cast<int>(acma::ctl::Exit::refused);
    }
}
