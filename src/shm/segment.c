// The shared segment: a memfd that the master makes and its children map, laid out as header, slots, broadcast, limiter.
#include "wahook/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHM_MAGIC         0x57415348u // "WASH"
#define SHM_SEGMENT_MAGIC 0x314d48535748u
#define SLOTS_MAX         4096u
#define LIMITER_MAX       ((size_t)1 << 34)

// First bytes of the segment. Whatever changes the layout changes a size here, and so a child of another build is turned away.
struct header {
  _Alignas(64) uint64_t magic;
  uint32_t header_bytes, slot_bytes, broadcast_bytes, slot_count;
  uint64_t limiter_bytes;
  int64_t created_us;
  uint64_t tag;
};

static size_t layout(struct shm *shm, char *base, unsigned slot_count, size_t limiter_bytes) {
  size_t at = sizeof(struct header);
  size_t slots_at = at;
  at += slot_count * sizeof(struct shm_slot);
  size_t broadcast_at = at;
  at += sizeof(struct shm_broadcast);
  size_t limiter_at = (at + 4095) & ~(size_t)4095;
  at = limiter_at + limiter_bytes;
  if (base) {
    shm->slots = (struct shm_slot *)(void *)(base + slots_at);
    shm->broadcast = (struct shm_broadcast *)(void *)(base + broadcast_at);
    shm->limiter = limiter_bytes ? base + limiter_at : NULL;
    shm->limiter_bytes = limiter_bytes;
    shm->slot_count = slot_count;
    shm->created_us = &((struct header *)(void *)base)->created_us;
    shm->tag = &((struct header *)(void *)base)->tag;
  }
  return at;
}

static enum err map(int fd, size_t size, void **out, struct why *why) {
  void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) {
    why_set(why, "cannot map %zu bytes of shared memory: %s", size, strerror(errno));
    return ERR_IO;
  }
  *out = base;
  return ERR_OK;
}

enum err shm_create(struct shm *shm, unsigned slot_count, size_t limiter_bytes, struct why *why) {
  if (slot_count == 0 || slot_count > SLOTS_MAX || limiter_bytes > LIMITER_MAX) {
    why_set(why, "shared memory for %u processes and %zu bytes of limits is out of range", slot_count, limiter_bytes);
    return ERR_RANGE;
  }
  size_t size = layout(NULL, NULL, slot_count, limiter_bytes);
  int fd = memfd_create("wahookd", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) {
    why_set(why, "cannot create shared memory: %s", strerror(errno));
    return ERR_IO;
  }
  void *base = NULL;
  enum err err = ERR_IO;
  // Sealed against resizing: no process can turn another's access into SIGBUS.
  if (ftruncate(fd, (off_t)size) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    why_set(why, "cannot size shared memory to %zu bytes: %s", size, strerror(errno));
  } else {
    err = map(fd, size, &base, why);
  }
  if (err != ERR_OK) {
    close(fd);
    return err;
  }
  *(struct header *)base = (struct header){
      .magic = SHM_SEGMENT_MAGIC,
      .header_bytes = sizeof(struct header),
      .slot_bytes = sizeof(struct shm_slot),
      .broadcast_bytes = sizeof(struct shm_broadcast),
      .slot_count = slot_count,
      .limiter_bytes = limiter_bytes,
      .created_us = clock_mono_us(),
  };
  *shm = (struct shm){.magic = SHM_MAGIC, .fd = fd, .size = size};
  layout(shm, base, slot_count, limiter_bytes);
  return ERR_OK;
}

enum err shm_attach(struct shm *shm, int fd, struct why *why) {
  struct stat st;
  if (fstat(fd, &st) != 0) {
    why_set(why, "cannot look at the shared memory: %s", strerror(errno));
    return ERR_IO;
  }
  size_t size = (size_t)st.st_size;
  if (size < sizeof(struct header)) {
    why_set(why, "the shared memory has only %zu bytes", size);
    return ERR_VERSION;
  }
  void *base = NULL;
  enum err err = map(fd, size, &base, why);
  if (err != ERR_OK) return err;
  const struct header *h = base;
  bool fits = h->magic == SHM_SEGMENT_MAGIC && h->header_bytes == sizeof(struct header) && h->slot_bytes == sizeof(struct shm_slot) &&
              h->broadcast_bytes == sizeof(struct shm_broadcast) && h->slot_count > 0 && h->slot_count <= SLOTS_MAX &&
              h->limiter_bytes <= LIMITER_MAX && layout(NULL, NULL, h->slot_count, h->limiter_bytes) == size;
  if (!fits) {
    munmap(base, size);
    why_set(why, "the shared memory was laid out by another build of wahookd");
    return ERR_VERSION;
  }
  *shm = (struct shm){.magic = SHM_MAGIC, .fd = fd, .size = size};
  layout(shm, base, h->slot_count, h->limiter_bytes);
  return ERR_OK;
}

void shm_detach(struct shm *shm) {
  if (shm->magic != SHM_MAGIC) return;
  munmap((char *)(void *)shm->slots - sizeof(struct header), shm->size);
  close(shm->fd);
  *shm = (struct shm){.fd = -1};
}
