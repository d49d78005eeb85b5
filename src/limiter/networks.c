// Addresses as keys, and networks of trusted proxies. Runs in workers.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "wahook/limiter.h"

#define NETWORKS_MAGIC 0x4e455453u

// An IP address of either family, in network order; v4-mapped IPv6 counts as IPv4, since a dual-stack socket reports it so.
struct ip {
  unsigned bits; // 32, 128; 0: not an IP address
  uint8_t bytes[16];
};

static struct ip ip_of_v6(const struct in6_addr *v6) {
  struct ip ip = {.bits = 128};
  memcpy(ip.bytes, v6, 16);
  if (IN6_IS_ADDR_V4MAPPED(v6)) {
    ip = (struct ip){.bits = 32};
    memcpy(ip.bytes, (const uint8_t *)v6 + 12, 4);
  }
  return ip;
}

static struct ip ip_of(const struct sockaddr *address) {
  struct ip ip = {0};
  if (address->sa_family == AF_INET) {
    struct sockaddr_in v4; // copied: callers may hold it in a byte buffer
    memcpy(&v4, address, sizeof v4);
    ip.bits = 32;
    memcpy(ip.bytes, &v4.sin_addr, 4);
  } else if (address->sa_family == AF_INET6) {
    struct sockaddr_in6 v6;
    memcpy(&v6, address, sizeof v6);
    ip = ip_of_v6(&v6.sin6_addr);
  }
  return ip;
}

struct span limiter_address_key(const struct sockaddr *address, uint8_t out[static 20]) {
  struct ip ip = ip_of(address);
  if (ip.bits == 0) return SPAN("unix");
  // A first byte for the family, so that no address looks like one of another family, or like "unix".
  size_t used = ip.bits == 32 ? 4 : 8; // a subscriber has a /64 at least: all of it is one caller
  out[0] = ip.bits == 32 ? 4 : 6;
  memcpy(out + 1, ip.bytes, used);
  return (struct span){(const char *)out, used + 1};
}

enum network_kind { NETWORK_IP, NETWORK_UNIX, NETWORK_ALL };
struct network {
  enum network_kind kind;
  struct ip ip;
  unsigned prefix;
};
struct limiter_networks {
  uint32_t magic;
  size_t count;
  struct network *items;
};

static enum err parse_ip(struct span text, struct ip *out) {
  char name[INET6_ADDRSTRLEN];
  struct in_addr v4;
  struct in6_addr v6;
  if (span_copy(text, name, sizeof name)) return ERR_FORMAT;
  if (inet_pton(AF_INET, name, &v4) == 1) {
    *out = (struct ip){.bits = 32};
    memcpy(out->bytes, &v4, 4);
    return ERR_OK;
  }
  if (inet_pton(AF_INET6, name, &v6) != 1) return ERR_FORMAT;
  *out = (struct ip){.bits = 128};
  memcpy(out->bytes, &v6, 16);
  return ERR_OK;
}

// ::ffff:10.0.0.0/104 is 10.0.0.0/8 in the other notation.
static void unmap(struct network *n) {
  struct in6_addr v6;
  memcpy(&v6, n->ip.bytes, 16);
  if (n->ip.bits != 128 || n->prefix < 96 || !IN6_IS_ADDR_V4MAPPED(&v6)) return;
  n->ip = ip_of_v6(&v6);
  n->prefix -= 96;
}

static enum err parse_network(struct span text, struct network *out) {
  if (span_eq(text, SPAN("unix")) || span_eq(text, SPAN("*"))) {
    *out = (struct network){.kind = text.len == 1 ? NETWORK_ALL : NETWORK_UNIX};
    return ERR_OK;
  }
  const char *slash = text.len ? memchr(text.ptr, '/', text.len) : NULL;
  struct network n = {.kind = NETWORK_IP};
  struct span host = {text.ptr, slash ? (size_t)(slash - text.ptr) : text.len};
  enum err e = parse_ip(host, &n.ip);
  if (e) return e;
  uint64_t prefix = n.ip.bits;
  if (slash) e = span_u64(span_from(text, host.len + 1), &prefix);
  if (e || prefix > n.ip.bits) return ERR_RANGE;
  n.prefix = (unsigned)prefix;
  unmap(&n);
  *out = n;
  return ERR_OK;
}

enum err limiter_networks_new(const char *const *texts, size_t count, struct limiter_networks **out, struct why *why) {
  struct network *items = xcalloc(count + 1, sizeof *items);
  for (size_t i = 0; i < count; i++) {
    enum err e = parse_network(span_trim(span_of(texts[i])), &items[i]);
    if (!e) continue;
    why_set(why, "\"%s\" is no address or network: write 10.0.0.7, 10.0.0.0/8, 2001:db8::/32, unix, or * for all", texts[i]);
    free(items);
    return e;
  }
  struct limiter_networks *networks = xcalloc(1, sizeof *networks);
  *networks = (struct limiter_networks){.magic = NETWORKS_MAGIC, .count = count, .items = items};
  *out = networks;
  return ERR_OK;
}

void limiter_networks_free(struct limiter_networks *networks) {
  if (!networks) return;
  ALWAYS(networks->magic == NETWORKS_MAGIC);
  networks->magic = 0;
  free(networks->items);
  free(networks);
}

static bool within(const struct network *n, const struct ip *ip) {
  if (n->ip.bits != ip->bits) return false;
  unsigned whole = n->prefix / 8, rest = n->prefix % 8;
  if (memcmp(n->ip.bytes, ip->bytes, whole) != 0) return false;
  if (rest == 0) return true;
  return (n->ip.bytes[whole] ^ ip->bytes[whole]) >> (8 - rest) == 0;
}

bool limiter_networks_contain(const struct limiter_networks *networks, const struct sockaddr *address) {
  if (!networks) return false;
  ALWAYS(networks->magic == NETWORKS_MAGIC);
  struct ip ip = ip_of(address);
  for (size_t i = 0; i < networks->count; i++) {
    const struct network *n = &networks->items[i];
    if (n->kind == NETWORK_ALL) return true;
    if (n->kind == NETWORK_UNIX ? address->sa_family == AF_UNIX : within(n, &ip)) return true;
  }
  return false;
}
