// SPDX-License-Identifier: Apache-2.0
#include "engine/base/result.h"

#include <array>
#include <cerrno>
#include <cstring>

namespace acma {

namespace {
constexpr std::array<std::pair<ErrorCode, std::string_view>, 8> k_names{{
    {ErrorCode::invalid, "invalid"},
    {ErrorCode::not_found, "not-found"},
    {ErrorCode::busy, "busy"},
    {ErrorCode::unsupported, "unsupported"},
    {ErrorCode::permission, "permission"},
    {ErrorCode::timeout, "timeout"},
    {ErrorCode::too_large, "too-large"},
    {ErrorCode::io, "io"},
}};

ErrorCode code_from_errno(int errnum) {
    switch (errnum) {
        case ENOENT:
        case ENODEV:
        case ENXIO:
        case ESRCH:
            return ErrorCode::not_found;
        case EBUSY:
        case EAGAIN:
            return ErrorCode::busy;
        case EOPNOTSUPP:
        case ENOSYS:
            return ErrorCode::unsupported;
        case EACCES:
        case EPERM:
        case EROFS:
            return ErrorCode::permission;
        case EINVAL:
            return ErrorCode::invalid;
        case ETIMEDOUT:
            return ErrorCode::timeout;
        default:
            return ErrorCode::io;
    }
}
}  // namespace

std::string_view to_string(ErrorCode code) {
    for (const auto& [value, name] : k_names) {
        if (value == code) {
            return name;
        }
    }
    return "unknown";
}

Error error_from_errno(int errnum, std::string_view what) {
    return Error{code_from_errno(errnum), std::string(what) + ": " + std::strerror(errnum)};
}

}  // namespace acma
