// SPDX-License-Identifier: Apache-2.0
#include "host-controller/api_asio/lobby.h"

namespace acma::host {

std::list<Visitor*>& Lobby::those_who(Visitor::Doing doing) {
    switch (doing) {
        case Visitor::Doing::asking:
            return asking_;
        case Visitor::Doing::listening:
            return listening_;
        case Visitor::Doing::waiting:
            break;
    }
    return waiting_;
}

void Lobby::enter(Visitor& visitor) {
    visitor.doing_ = Visitor::Doing::asking;
    visitor.place_ = asking_.insert(asking_.end(), &visitor);
}

void Lobby::turns_to(Visitor& visitor, Visitor::Doing doing) {
    std::list<Visitor*>& to = those_who(doing);
    to.splice(to.end(), those_who(visitor.doing_), visitor.place_);
    visitor.doing_ = doing;
}

void Lobby::leave(Visitor& visitor) {
    those_who(visitor.doing_).erase(visitor.place_);
}

bool Lobby::make_room() {
    if (asking_.size() + listening_.size() + waiting_.size() < most_) {
        return true;
    }
    for (std::list<Visitor*>* some : {&asking_, &listening_}) {
        if (!some->empty()) {
            some->front()->turn_out();
            return true;
        }
    }
    return false;
}

}  // namespace acma::host
