// SPDX-License-Identifier: Apache-2.0
#include "guest-agent/pool.h"

#include <cerrno>
#include <cstdlib>

#include <fcntl.h>
#include <unistd.h>

#include "engine/policy/policy.h"
#include "platform/balloon_device.h"

namespace acma::agent {

Result<Bytes> parse_pool_size(const std::string& text) {
    const auto size = parse_size(text);
    if (!size) {
        return size;
    }
    if (*size < k_block || *size > platform::BalloonDevice::k_pool_most ||
        size->count() % k_block.count() != 0) {
        return Error{ErrorCode::invalid, "a pool is " + human(k_block) + " to " +
                                             human(platform::BalloonDevice::k_pool_most) +
                                             ", in steps of " + human(k_block)};
    }
    return size;
}

Error run_with_pool(const std::string& device, const PoolOptions& options) {
    auto shim = platform::BalloonDevice::open(device);
    if (!shim) {
        return shim.error();
    }
    const auto pool = shim->pool(options.size, options.node);
    if (!pool) {
        return pool.error();
    }
    // The one descriptor that the command is to get.
    if (::fcntl(pool->get(), F_SETFD, 0) != 0 ||
        ::setenv(k_pool_variable, std::to_string(pool->get()).c_str(), 1) != 0) {
        return error_from_errno(errno, "hand over the pool");
    }
    std::vector<std::string> words = options.command;
    std::vector<char*> argv;
    argv.reserve(words.size() + 1);
    for (std::string& word : words) {
        argv.push_back(word.data());
    }
    argv.push_back(nullptr);
    (void)::execvp(argv[0], argv.data());
    return error_from_errno(errno, "run " + options.command.front());
}

}  // namespace acma::agent
