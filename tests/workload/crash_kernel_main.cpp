// SPDX-License-Identifier: Apache-2.0
// acma-crash-kernel: loads the kernel that a crash boots into (kexec_file_load(2)), for tests of
// dumps. Debian's kexec needs libraries that a test guest has no other use for.
#include <cerrno>
#include <cstdio>
#include <cstring>

#include <fcntl.h>
#include <linux/kexec.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fputs("usage: acma-crash-kernel VMLINUZ INITRAMFS COMMAND-LINE\n", stderr);
        return 2;
    }
    const int kernel = open(argv[1], O_RDONLY | O_CLOEXEC);
    const int initramfs = open(argv[2], O_RDONLY | O_CLOEXEC);
    if (kernel < 0 || initramfs < 0 ||
        syscall(SYS_kexec_file_load, kernel, initramfs, std::strlen(argv[3]) + 1, argv[3],
                static_cast<unsigned long>(KEXEC_FILE_ON_CRASH)) != 0) {
        std::fprintf(stderr, "acma-crash-kernel: %s\n", std::strerror(errno));
        return 1;
    }
    return 0;
}
