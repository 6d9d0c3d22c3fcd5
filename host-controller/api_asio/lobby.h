// SPDX-License-Identifier: Apache-2.0
// Who is connected at one door, and who has to leave when it is full: the one of whom nothing came
// for longest, so that clients which are idle, slow or hostile lock nobody out.
#pragma once

#include <cstddef>
#include <list>

namespace acma::host {

class Visitor {
  public:
    enum class Doing {
        asking,     // its request is not there as a whole
        listening,  // it is being sent its answer
        waiting,    // for us, and so not its fault
    };
    virtual ~Visitor() = default;
    // It leaves, and ends its connection.
    virtual void turn_out() = 0;

  private:
    friend class Lobby;
    Doing doing_ = Doing::asking;
    std::list<Visitor*>::iterator place_;
};

// Visitors leave before they end.
class Lobby {
  public:
    explicit Lobby(size_t most) : most_(most) {}

    void enter(Visitor& visitor);
    void turns_to(Visitor& visitor, Visitor::Doing doing);
    void leave(Visitor& visitor);
    // There is a place for one more, perhaps since somebody had to leave; false: all wait for us.
    [[nodiscard]] bool make_room();

  private:
    [[nodiscard]] std::list<Visitor*>& those_who(Visitor::Doing doing);

    size_t most_;
    std::list<Visitor*> asking_;  // each: whoever has done so for longest is in front
    std::list<Visitor*> listening_;
    std::list<Visitor*> waiting_;
};

}  // namespace acma::host
