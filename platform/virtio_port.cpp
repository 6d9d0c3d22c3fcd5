// SPDX-License-Identifier: Apache-2.0
#include "platform/virtio_port.h"

#include <filesystem>
#include <system_error>

#include "platform/file.h"

namespace acma::platform {

Result<std::string> find_virtio_port(const std::string& name, const std::string& dev,
                                     const std::string& sys) {
    std::error_code err;
    const std::string by_name = dev + "/virtio-ports/" + name;
    if (std::filesystem::exists(by_name, err)) {
        return by_name;
    }
    for (const auto& entry :
         std::filesystem::directory_iterator(sys + "/class/virtio-ports", err)) {
        auto port_name = read_file(entry.path().string() + "/name");
        if (port_name && *port_name == name + "\n") {
            return dev + "/" + entry.path().filename().string();
        }
    }
    return Error{ErrorCode::not_found, "the VM has no virtio-serial channel named " + name};
}

}  // namespace acma::platform
