// A plugin for QEMU's user mode that counts the instructions that a program executes: those of each thread, without the
// kernel's. The counts are in a file that is mapped into memory, so that another process can read them at any moment.
//
// Use: qemu-x86_64 -plugin instruction-counter.so,counts=FILE PROGRAM ARGUMENT…
// Each thread has a slot of 64 bytes in FILE, a cache line: the number of instructions (uint64_t) and the thread's ID
// (uint64_t, 0 if the slot is not in use). When a thread has ended, a later one may go on in its slot.
//
// QEMU calls a function before each block of instructions, which has one entry and usually ends with a jump. An
// exception within a block makes the count too high by the rest of the block, which is rare.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

// Version 1 of QEMU's interface for plugins, which QEMU 4.2 to 8.2 accepts. These declarations follow QEMU's
// documentation of it (include/qemu/qemu-plugin.h, GPL-2.0-or-later), because Debian's package does not contain that
// header. Only what is used here is declared.
#define EXPORT __attribute__((visibility("default")))
struct qemu_plugin_tb;
struct qemu_plugin_insn;
void qemu_plugin_register_vcpu_init_cb(uint64_t id, void (*call)(uint64_t id, unsigned cpu));
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*call)(uint64_t id, struct qemu_plugin_tb *block));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, void (*call)(unsigned cpu, void *data),
                                          int flags, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *instruction);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *instruction);
EXPORT int qemu_plugin_version = 1;
enum { USES_NO_REGISTERS = 0 };

enum { SLOTS = 1024 };
static struct slot {
  uint64_t instructions;
  uint64_t thread;
  uint64_t unused[6];
} *slots;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

// Whether an instruction of x86 is a string instruction that is repeated, like `rep movsb`. QEMU executes a block that
// begins with one once for each repetition, where a processor counts one instruction for all of them. The first
// repetition belongs to the block before, and is counted there.
static int is_repeated(const struct qemu_plugin_insn *instruction) {
#ifdef __x86_64__
  const uint8_t *bytes = qemu_plugin_insn_data(instruction);
  const size_t size = qemu_plugin_insn_size(instruction);
  size_t at = 0;
  int repeats = 0;
  // Prefixes: sizes, segments, and REX last.
  for (; at < size && memchr("\x66\x67\x26\x2e\x36\x3e\x64\x65\xf2\xf3", bytes[at], 10) != NULL; at++)
    repeats |= bytes[at] >= 0xf2;
  if (at < size && bytes[at] >> 4 == 4) at++;
  // movs and cmps, or stos, lods and scas.
  return repeats && at + 1 == size && ((bytes[at] & 0xfc) == 0xa4 || (bytes[at] >= 0xaa && bytes[at] <= 0xaf));
#else
  (void)instruction;
  return 0;
#endif
}

static void begin_thread(uint64_t id, unsigned cpu) {
  (void)id;
  if (cpu >= SLOTS) {
    fprintf(stderr, "instruction-counter: more than %d threads\n", SLOTS);
    abort();
  }
  // Whose it is will be known when it executes its first block.
  slots[cpu].thread = 0;
}

static void count(unsigned cpu, void *instructions) {
  struct slot *slot = &slots[cpu];
  if (slot->thread == 0) slot->thread = (uint64_t)syscall(SYS_gettid);
  slot->instructions += (uintptr_t)instructions;
}

static void translate(uint64_t id, struct qemu_plugin_tb *block) {
  (void)id;
  if (is_repeated(qemu_plugin_tb_get_insn(block, 0))) return;
  qemu_plugin_register_vcpu_tb_exec_cb(block, count, USES_NO_REGISTERS, (void *)qemu_plugin_tb_n_insns(block));
}

EXPORT int qemu_plugin_install(uint64_t id, const void *target, int argc, char **argv) {
  (void)target;
  if (argc != 1 || strncmp(argv[0], "counts=", 7) != 0) {
    fprintf(stderr, "instruction-counter: counts=FILE is needed, and nothing else\n");
    return 1;
  }
  const char *path = argv[0] + 7;
  const int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0 || ftruncate(file, SLOTS * sizeof(struct slot)) != 0) fail(path);
  slots = mmap(NULL, SLOTS * sizeof(struct slot), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (slots == MAP_FAILED) fail(path);
  close(file);
  qemu_plugin_register_vcpu_init_cb(id, begin_thread);
  qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
  return 0;
}
