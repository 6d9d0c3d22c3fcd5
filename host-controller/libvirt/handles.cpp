// SPDX-License-Identifier: Apache-2.0
#include "host-controller/libvirt/handles.h"

#include <cstring>
#include <string>

#include <libvirt/virterror.h>

namespace acma::host {

namespace {
ErrorCode code_of(int libvirt_code) {
    switch (libvirt_code) {
        case VIR_ERR_NO_DOMAIN:
        case VIR_ERR_NO_DOMAIN_METADATA:
        case VIR_ERR_OPERATION_INVALID:  // "domain is not running"
            return ErrorCode::not_found;
        case VIR_ERR_NO_SUPPORT:
        case VIR_ERR_ARGUMENT_UNSUPPORTED:
        case VIR_ERR_OPERATION_UNSUPPORTED:
        case VIR_ERR_CONFIG_UNSUPPORTED:
            return ErrorCode::unsupported;
        case VIR_ERR_AUTH_FAILED:
        case VIR_ERR_AUTH_CANCELLED:
        case VIR_ERR_ACCESS_DENIED:
        case VIR_ERR_OPERATION_DENIED:
            return ErrorCode::permission;
        case VIR_ERR_OPERATION_TIMEOUT:
            return ErrorCode::timeout;
        case VIR_ERR_INVALID_ARG:
        case VIR_ERR_XML_ERROR:
            return ErrorCode::invalid;
        default:
            return ErrorCode::io;
    }
}
}  // namespace

Error last_libvirt_error(std::string_view what) {
    const virError* error = virGetLastError();
    const bool known = error != nullptr && error->message != nullptr;
    return Error{known ? code_of(error->code) : ErrorCode::io,
                 std::string(what) + ": " + (known ? error->message : "libvirt gave no reason")};
}

bool last_error_is_no_domain() {
    const virError* error = virGetLastError();
    return error != nullptr && error->code == VIR_ERR_NO_DOMAIN;
}

bool is_test_driver(virConnectPtr connection) {
    const char* driver = virConnectGetType(connection);
    return driver != nullptr && std::strcmp(driver, "TEST") == 0;
}

void silence_libvirt() {
    virSetErrorFunc(nullptr, [](void*, virErrorPtr) {});
}

}  // namespace acma::host
