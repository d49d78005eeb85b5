// Which addresses a URL of a stranger must not lead to: the special ranges of RFC 6890. Pure; runs in the dispatcher.
#include "transfer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

// In host byte order: the first address and the prefix' length.
static const struct {
  uint32_t network;
  unsigned bits;
} ranges4[] = {
    {0x00000000, 8},  // "this network"
    {0x0A000000, 8},  // private
    {0x64400000, 10}, // carrier-grade NAT
    {0x7F000000, 8},  // loopback
    {0xA9FE0000, 16}, // link-local, and the clouds' metadata services
    {0xAC100000, 12}, // private
    {0xC0000000, 24}, // IETF protocol assignments
    {0xC0000200, 24}, // documentation
    {0xC0586300, 24}, // 6to4 relays
    {0xC0A80000, 16}, // private
    {0xC6120000, 15}, // benchmarking
    {0xC6336400, 24}, // documentation
    {0xCB007100, 24}, // documentation
    {0xE0000000, 3},  // multicast, reserved, broadcast
};

static bool private4(uint32_t address) {
  for (size_t i = 0; i < COUNT_OF(ranges4); i++)
    if ((address ^ ranges4[i].network) >> (32 - ranges4[i].bits) == 0) return true;
  return false;
}

static uint32_t embedded4(const unsigned char *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool private6(const unsigned char a[16]) {
  static const unsigned char zeros[15];
  static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
  static const unsigned char nat64[12] = {0, 0x64, 0xFF, 0x9B};
  if (memcmp(a, mapped, sizeof mapped) == 0 || memcmp(a, nat64, sizeof nat64) == 0) return private4(embedded4(a + 12));
  if (a[0] == 0x20 && a[1] == 0x02) return private4(embedded4(a + 2)); // 6to4
  if (memcmp(a, zeros, 12) == 0) return true;                          // ::, ::1 and the old IPv4-compatible form
  if (a[0] == 0 && a[1] == 0x64) return true;                          // local NAT64 (RFC 8215)
  if ((a[0] & 0xFE) == 0xFC) return true;                              // unique local
  if (a[0] == 0xFE) return true;                                       // link-local, site-local
  if (a[0] == 0xFF) return true;                                       // multicast
  if (a[0] == 0x01 && a[1] == 0) return true;                          // discard
  // 2001::/23 are protocol assignments (Teredo among them), 2001:db8::/32 is documentation.
  return a[0] == 0x20 && a[1] == 0x01 && (a[2] < 2 || (a[2] == 0x0D && a[3] == 0xB8));
}

bool address__private(const struct sockaddr *address) {
  if (address->sa_family == AF_INET) {
    struct sockaddr_in in;
    memcpy(&in, address, sizeof in);
    return private4(ntohl(in.sin_addr.s_addr));
  }
  if (address->sa_family == AF_INET6) {
    struct sockaddr_in6 in6;
    memcpy(&in6, address, sizeof in6);
    return private6(in6.sin6_addr.s6_addr);
  }
  return true; // unix sockets and whatever else there may be
}
