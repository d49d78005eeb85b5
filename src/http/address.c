// Who the client is: addresses as text, and the hops of X-Forwarded-For. Runs in workers and tools.
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

void http__address_text(const struct sockaddr *address, char out[static HTTP__CLIENT_TEXT]) {
  const void *bytes = NULL;
  struct in_addr mapped;
  int family = address->sa_family;
  if (family == AF_INET) bytes = &((const struct sockaddr_in *)(const void *)address)->sin_addr;
  if (family == AF_INET6) {
    const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    bytes = six;
    if (IN6_IS_ADDR_V4MAPPED(six)) { // a dual-stack listener shows IPv4 clients this way
      memcpy(&mapped, six->s6_addr + 12, 4);
      bytes = &mapped;
      family = AF_INET;
    }
  }
  if (!bytes || !inet_ntop(family, bytes, out, HTTP__CLIENT_TEXT)) snprintf(out, HTTP__CLIENT_TEXT, "unix");
}

bool http__address_parse(struct span text, struct sockaddr_storage *out) {
  text = span_trim(text);
  if (text.len >= 2 && text.ptr[0] == '"' && text.ptr[text.len - 1] == '"') text = (struct span){text.ptr + 1, text.len - 2};
  char copy[HTTP__CLIENT_TEXT];
  struct span host = text;
  if (text.len && text.ptr[0] == '[') {
    const char *end = memchr(text.ptr, ']', text.len);
    if (!end) return false;
    host = (struct span){text.ptr + 1, (size_t)(end - text.ptr - 1)};
  } else {
    const char *colon = text.len ? memchr(text.ptr, ':', text.len) : NULL;
    // One colon: IPv4 with a port. Several: a bare IPv6 address.
    if (colon && !memchr(colon + 1, ':', (size_t)(text.ptr + text.len - colon - 1))) host.len = (size_t)(colon - text.ptr);
  }
  if (span_copy(host, copy, sizeof copy) != ERR_OK) return false;
  struct sockaddr_in four = {.sin_family = AF_INET};
  struct sockaddr_in6 six = {.sin6_family = AF_INET6};
  memset(out, 0, sizeof *out);
  if (inet_pton(AF_INET, copy, &four.sin_addr) == 1)
    memcpy(out, &four, sizeof four);
  else if (inet_pton(AF_INET6, copy, &six.sin6_addr) == 1)
    memcpy(out, &six, sizeof six);
  else
    return false;
  return true;
}

bool http__forwarded_client(const struct http__message *m, bool (*is_trusted)(const struct sockaddr *peer, void *ctx), void *ctx,
                            struct sockaddr_storage *out) {
  bool found = false;
  // From the right: the last field is the nearest proxy's. What lies left of the first untrusted hop is that hop's mere word.
  for (unsigned i = m->field_count; i-- > 0;) {
    if (!span_eq(m->fields[i].name, SPAN("x-forwarded-for"))) continue;
    struct span rest = m->fields[i].value;
    while (rest.len) {
      size_t start = rest.len;
      while (start > 0 && rest.ptr[start - 1] != ',')
        start--;
      struct sockaddr_storage hop;
      if (!http__address_parse(span_from(rest, start), &hop)) return found;
      *out = hop;
      found = true;
      if (!is_trusted((const struct sockaddr *)&hop, ctx)) return true;
      rest.len = start ? start - 1 : 0;
    }
  }
  return found;
}
