// The PROXY protocol, versions 1 and 2: a proxy's word on who the client is, before the first byte of HTTP. Runs in workers and tools.
#include <arpa/inet.h>
#include <string.h>

#include "internal.h"

#define V1_MAX_BYTES 107 // the longest line that version 1 allows, with its CRLF

static const char v2_signature[12] = {'\r', '\n', '\r', '\n', '\0', '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

static enum err parse_v1(struct span data, struct sockaddr_storage *client, bool *known, size_t *used) {
  size_t look = data.len < V1_MAX_BYTES ? data.len : V1_MAX_BYTES;
  const char *end = memchr(data.ptr, '\n', look);
  if (!end) return look == V1_MAX_BYTES ? ERR_FORMAT : ERR_AGAIN;
  if (end == data.ptr || end[-1] != '\r') return ERR_FORMAT;
  struct span rest = {data.ptr, (size_t)(end - data.ptr - 1)}, words[6];
  unsigned count = 0;
  while (count < 6 && span_split(&rest, ' ', &words[count]))
    count++;
  if (count < 2 || !span_eq(words[0], SPAN("PROXY"))) return ERR_FORMAT;
  bool unknown = span_eq(words[1], SPAN("UNKNOWN"));
  if (!unknown) {
    struct sockaddr_storage address, own;
    int family = span_eq(words[1], SPAN("TCP4")) ? AF_INET : span_eq(words[1], SPAN("TCP6")) ? AF_INET6 : 0;
    uint64_t port, own_port;
    if (!family || count != 6 || rest.len) return ERR_FORMAT;
    if (!http__address_parse(words[2], &address) || address.ss_family != family) return ERR_FORMAT;
    if (!http__address_parse(words[3], &own) || own.ss_family != family) return ERR_FORMAT;
    if (span_u64(words[4], &port) != ERR_OK || span_u64(words[5], &own_port) != ERR_OK || port > 65535 || own_port > 65535)
      return ERR_FORMAT;
    if (family == AF_INET)
      ((struct sockaddr_in *)&address)->sin_port = htons((uint16_t)port);
    else
      ((struct sockaddr_in6 *)&address)->sin6_port = htons((uint16_t)port);
    *client = address;
  }
  *known = !unknown;
  *used = (size_t)(end - data.ptr) + 1;
  return ERR_OK;
}

static enum err parse_v2(struct span data, struct sockaddr_storage *client, bool *known, size_t *used) {
  if (data.len < 16) return ERR_AGAIN;
  unsigned char head[16];
  memcpy(head, data.ptr, sizeof head);
  unsigned command = head[12] & 15, version = head[12] >> 4, family = head[13] >> 4, transport = head[13] & 15;
  size_t length = (size_t)head[14] << 8 | head[15];
  if (version != 2 || command > 1 || 16 + length > HTTP__PROXY_MAX) return ERR_FORMAT;
  if (data.len < 16 + length) return ERR_AGAIN;
  const char *at = data.ptr + 16;
  bool named = false;
  if (command == 1 && transport == 1 && family == 1) { // TCP over IPv4: source, destination, ports
    if (length < 12) return ERR_FORMAT;
    struct sockaddr_in four = {.sin_family = AF_INET};
    memcpy(&four.sin_addr, at, 4);
    memcpy(&four.sin_port, at + 8, 2);
    memset(client, 0, sizeof *client);
    memcpy(client, &four, sizeof four);
    named = true;
  } else if (command == 1 && transport == 1 && family == 2) {
    if (length < 36) return ERR_FORMAT;
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    memcpy(&six.sin6_addr, at, 16);
    memcpy(&six.sin6_port, at + 32, 2);
    memset(client, 0, sizeof *client);
    memcpy(client, &six, sizeof six);
    named = true;
  }
  *known = named;
  *used = 16 + length; // what follows the addresses are TLVs, of no use here
  return ERR_OK;
}

enum err http__proxy_parse(struct span data, struct sockaddr_storage *client, bool *known, size_t *used) {
  size_t look = data.len < sizeof v2_signature ? data.len : sizeof v2_signature;
  if (look == 0) return ERR_AGAIN;
  if (memcmp(data.ptr, v2_signature, look) == 0) return look < sizeof v2_signature ? ERR_AGAIN : parse_v2(data, client, known, used);
  look = data.len < 6 ? data.len : 6;
  if (memcmp(data.ptr, "PROXY ", look) != 0) return ERR_FORMAT;
  return parse_v1(data, client, known, used);
}
