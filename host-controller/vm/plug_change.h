// SPDX-License-Identifier: Apache-2.0
// A new requested size for a domain's virtio-mem device.
#pragma once

#include <functional>
#include <string>

#include "engine/base/result.h"
#include "engine/base/units.h"
#include "engine/plugging/plug_watch.h"
#include "host-controller/metadata/policy_xml.h"

namespace acma::host {

struct PlugChange {
    plugging::Order order;
    StateNote note;      // written before it
    std::string word;    // plug or unplug
    std::string reason;  // a sentence
    bool operator==(const PlugChange&) const = default;
};

// The requested size in force then.
using PlugDone = std::function<void(const Result<Bytes>&)>;

}  // namespace acma::host
