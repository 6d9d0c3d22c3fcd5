// SPDX-License-Identifier: Apache-2.0
// As much of SQLite as the store needs: a connection, statements, errors as Results.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "engine/base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace acma::host::sqlite {

class Statement {
  public:
    // Parameters count from 1, columns from 0. Text is copied.
    Statement& bind(int parameter, int64_t value);
    Statement& bind(int parameter, std::string_view text);
    Statement& bind_null(int parameter);
    // True: there is a row. False: it is done, and can be bound and run anew.
    [[nodiscard]] Result<bool> step();
    // To the end, without looking at rows.
    [[nodiscard]] Status run();

    [[nodiscard]] int64_t integer(int column) const;
    [[nodiscard]] std::string text(int column) const;
    [[nodiscard]] bool is_null(int column) const;

  private:
    friend class Database;
    struct Finalize {
        void operator()(sqlite3_stmt* statement) const;
    };
    explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}
    std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

// Statements must go before it.
class Database {
  public:
    // Made if it is not there. A file that cannot be written is opened for reading.
    [[nodiscard]] static Result<Database> open(const std::string& path);

    [[nodiscard]] Result<Statement> prepare(std::string_view sql);
    // One or more statements without parameters; rows are ignored.
    [[nodiscard]] Status run(const char* sql);
    // The only column of the only row.
    [[nodiscard]] Result<int64_t> integer(std::string_view sql);
    // How many rows the last statement changed.
    [[nodiscard]] int64_t changes() const;
    [[nodiscard]] bool read_only() const;
    // Its file was removed or replaced: what is written now is lost.
    [[nodiscard]] bool moved() const;

  private:
    struct Close {
        void operator()(sqlite3* database) const;
    };
    explicit Database(sqlite3* database) : database_(database) {}
    std::unique_ptr<sqlite3, Close> database_;
};

}  // namespace acma::host::sqlite
