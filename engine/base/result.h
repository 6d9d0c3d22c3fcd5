// SPDX-License-Identifier: Apache-2.0
// Result<T>: a value or an Error. Recoverable failures are returned, never thrown; callers act on
// `code` (gone, busy, unsupported and malformed need different reactions) and print `message`.
#pragma once

#include <cassert>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace acma {

enum class ErrorCode {
    invalid,      // the caller or a file gave something malformed or contradictory
    not_found,    // it does not exist (any more)
    busy,         // someone else holds it; trying again later may help
    unsupported,  // this kernel, host or guest does not have the feature
    permission,   // not allowed
    timeout,      // no answer in time
    too_large,    // over a size, depth, count or rate limit
    io,           // any other failure of a system call
};

// One pair table for code <-> text.
[[nodiscard]] std::string_view to_string(ErrorCode code);

struct Error {
    ErrorCode code = ErrorCode::io;
    std::string message;

    bool operator==(const Error&) const = default;

    // Adds what was being tried, on what; once per layer: "open: x" -> "reading policy: open: x".
    [[nodiscard]] Error in(std::string_view context) const {
        return Error{code, std::string(context) + ": " + message};
    }
};

// An Error from errno (or a negative libc result's errno), with what was tried.
[[nodiscard]] Error error_from_errno(int errnum, std::string_view what);

template <typename T>
class [[nodiscard]] Result {
  public:
    // Implicit on purpose: `return value;` and `return Error{...};` both read well.
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

    [[nodiscard]] bool ok() const { return state_.index() == 0; }
    explicit operator bool() const { return ok(); }

    [[nodiscard]] const T& value() const& {
        assert(ok());
        return std::get<0>(state_);
    }
    [[nodiscard]] T& value() & {
        assert(ok());
        return std::get<0>(state_);
    }
    [[nodiscard]] T&& value() && {
        assert(ok());
        return std::get<0>(std::move(state_));
    }
    [[nodiscard]] const T& operator*() const& { return value(); }
    [[nodiscard]] T& operator*() & { return value(); }
    [[nodiscard]] T&& operator*() && { return std::move(*this).value(); }
    const T* operator->() const { return &value(); }
    T* operator->() { return &value(); }

    [[nodiscard]] const Error& error() const {
        assert(!ok());
        return std::get<1>(state_);
    }
    [[nodiscard]] T value_or(T other) const { return ok() ? value() : std::move(other); }

  private:
    std::variant<T, Error> state_;
};

// Success without a value.
template <>
class [[nodiscard]] Result<void> {
  public:
    Result() = default;
    Result(Error error) : error_(std::move(error)) {}

    [[nodiscard]] bool ok() const { return !error_; }
    explicit operator bool() const { return ok(); }
    [[nodiscard]] const Error& error() const {
        assert(error_);
        return *error_;
    }

  private:
    std::optional<Error> error_;
};

using Status = Result<void>;

}  // namespace acma
