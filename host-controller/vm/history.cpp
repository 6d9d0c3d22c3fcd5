// SPDX-License-Identifier: Apache-2.0
#include "host-controller/vm/history.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace acma::host {

namespace {
// Seven bits a byte, the lowest first; the last byte has its top bit clear.
void put(std::string& to, uint64_t number) {
    while (number >= 0x80U) {
        to.push_back(static_cast<char>(0x80U | (number & 0x7FU)));
        number >>= 7U;
    }
    to.push_back(static_cast<char>(number));
}

uint64_t take(std::string_view& from) {
    uint64_t number = 0;
    for (unsigned shift = 0; !from.empty(); shift += 7) {
        const auto byte = static_cast<unsigned char>(from.front());
        from.remove_prefix(1);
        number |= uint64_t{byte & 0x7FU} << shift;
        if (byte < 0x80U) {
            break;
        }
    }
    return number;
}
}  // namespace

void History::add(const proto::ExplainEntry& entry, Cause cause) {
    if (!entries_.empty()) {
        const proto::ExplainEntry last = unpack(entries_.back().bytes);
        if (last.decision == entry.decision && last.reason == entry.reason) {
            return;
        }
    }
    if (cause == Cause::guest && ++by_guest_ > k_guest_history) {
        drop(std::find_if(entries_.begin(), entries_.end(),
                          [](const Packed& packed) { return packed.cause == Cause::guest; }));
    }
    entries_.push_back(Packed{cause, pack(entry)});
    bytes_ += entries_.back().size();
    while (entries_.size() > k_history || (bytes_ > k_history_bytes && entries_.size() > 1)) {
        drop(entries_.begin());
    }
    decisions_ += cause == Cause::decision ? 1 : 0;
}

void History::drop(std::vector<Packed>::iterator entry) {
    bytes_ -= entry->size();
    by_guest_ -= entry->cause == Cause::guest ? 1U : 0U;
    entries_.erase(entry);
}

std::vector<proto::ExplainEntry> History::entries() const {
    std::vector<proto::ExplainEntry> unpacked;
    unpacked.reserve(entries_.size());
    for (const Packed& entry : entries_) {
        unpacked.push_back(unpack(entry.bytes));
    }
    return unpacked;
}

std::string History::last_reason() const {
    return entries_.empty() ? "" : unpack(entries_.back().bytes).reason;
}

std::optional<proto::ExplainEntry> History::last_decision() const {
    const auto last = std::find_if(entries_.rbegin(), entries_.rend(), [](const Packed& packed) {
        return packed.cause == Cause::decision;
    });
    return last == entries_.rend() ? std::nullopt : std::optional(unpack(last->bytes));
}

// Our own code's words, of which there are few.
size_t History::word(const std::string& text) {
    const auto known = std::find(words_.begin(), words_.end(), text);
    if (known != words_.end()) {
        return static_cast<size_t>(known - words_.begin());
    }
    words_.push_back(text);
    return words_.size() - 1;
}

// The time, the decision's word, the count of numbers, each as word and value; the rest is the
// reason.
std::string History::pack(const proto::ExplainEntry& entry) {
    std::string head;
    put(head, static_cast<uint64_t>(entry.time.count()));
    put(head, word(entry.decision));
    put(head, entry.numbers.size());
    for (const auto& [name, number] : entry.numbers) {
        put(head, word(name));
        put(head, number);
    }
    std::string bytes;
    bytes.reserve(head.size() + entry.reason.size());
    return bytes.append(head).append(entry.reason);
}

proto::ExplainEntry History::unpack(const std::string& bytes) const {
    std::string_view rest = bytes;
    proto::ExplainEntry entry;
    entry.time = Micros(static_cast<int64_t>(take(rest)));
    entry.decision = words_[take(rest)];
    for (uint64_t left = take(rest); left > 0; --left) {
        const size_t name = take(rest);
        entry.numbers.emplace(words_[name], take(rest));
    }
    entry.reason = rest;
    return entry;
}

}  // namespace acma::host
