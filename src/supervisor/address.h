// An address to listen on, as operators write it.
#ifndef SUPERVISOR_ADDRESS_H
#define SUPERVISOR_ADDRESS_H

#include <sys/socket.h>

#include "wahook/base.h"

struct address {
  struct sockaddr_storage sa;
  socklen_t sa_len;
  bool dual;      // ":PORT": IPv6 and IPv4 on one socket where there is IPv6
  char text[140]; // as configured
};

// HOST:PORT, [IPv6]:PORT, :PORT, unix:PATH. ERR_FORMAT, ERR_NOT_FOUND (the host name) with why.
enum err address_parse(struct span text, struct address *out, struct why *why) MUST_CHECK;
// The address that a listening socket is bound to. ERR_UNSUPPORTED for one of another family, ERR_IO.
enum err address_of_socket(int fd, struct address *out) MUST_CHECK;
// Whether both lead to the same place (a host name and what it resolves to are the same).
bool address_equal(const struct address *a, const struct address *b);
bool address_is_unix(const struct address *address);
const char *address_unix_path(const struct address *address);
uint16_t address_port(const struct address *address);

#endif
