// CRC-32C (Castagnoli, RFC 3720 appendix B.4): the processor's instruction where there is one, else tables. Runs in every process.
#include "wahook/base.h"

#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

#define POLYNOMIAL 0x82F63B78u // bit-reversed 0x1EDC6F41

// Slicing by 8: table[k][b] is the CRC of byte b followed by k zero bytes.
static uint32_t table[8][256];
static uint32_t (*update)(uint32_t crc, const unsigned char *p, size_t len);

static uint32_t update_table(uint32_t crc, const unsigned char *p, size_t len) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  while (len >= 8) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
    word ^= crc;
    crc = 0;
    for (unsigned i = 0; i < 8; i++)
      crc ^= table[7 - i][(word >> (8 * i)) & 0xFF];
    p += 8;
    len -= 8;
  }
#endif
  while (len--)
    crc = table[0][(crc ^ *p++) & 0xFF] ^ (crc >> 8);
  return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t update_hardware(uint32_t crc, const unsigned char *p, size_t len) {
  uint64_t wide = crc;
  for (; len >= 8; p += 8, len -= 8) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
    wide = _mm_crc32_u64(wide, word);
  }
  crc = (uint32_t)wide;
  for (; len; p++, len--)
    crc = _mm_crc32_u8(crc, *p);
  return crc;
}
static bool have_hardware(void) {
  __builtin_cpu_init();
  return __builtin_cpu_supports("sse4.2") != 0;
}
#elif defined(__aarch64__)
__attribute__((target("+crc"))) static uint32_t update_hardware(uint32_t crc, const unsigned char *p, size_t len) {
  for (; len >= 8; p += 8, len -= 8) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
    crc = __crc32cd(crc, word);
  }
  for (; len; p++, len--)
    crc = __crc32cb(crc, *p);
  return crc;
}
static bool have_hardware(void) {
  return (getauxval(AT_HWCAP) & (1u << 7)) != 0; // HWCAP_CRC32
}
#else
#define update_hardware update_table
static bool have_hardware(void) {
  return false;
}
#endif

// Before main(): the choice is made once, so the hot path reads a pointer that never changes.
__attribute__((constructor)) static void choose(void) {
  for (uint32_t b = 0; b < 256; b++) {
    uint32_t crc = b;
    for (int bit = 0; bit < 8; bit++)
      crc = crc & 1 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
    table[0][b] = crc;
  }
  for (unsigned k = 1; k < 8; k++)
    for (unsigned b = 0; b < 256; b++)
      table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 0xFF];
  update = have_hardware() ? update_hardware : update_table;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len) {
  return ~update(~crc, data, len);
}
