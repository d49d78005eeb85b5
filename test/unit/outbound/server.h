// A small HTTP server on a thread, for the tests of outbound: answers by path, keeps what it received.
#ifndef TEST_OUTBOUND_SERVER_H
#define TEST_OUTBOUND_SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include "wahook/base.h"

struct server {
  int fd;
  unsigned port;
  pthread_t thread;
  pthread_mutex_t lock;
  unsigned requests, connections;
  char head[8192], body[65536]; // of the last request
  char answer[8192];            // the whole answer to a path that no rule below knows
};

struct server_conn {
  struct server *server;
  int fd;
  unsigned ordinal; // of the request on its connection
};

static void server_send(int fd, const char *text) {
  for (size_t len = strlen(text), at = 0; at < len;) {
    ssize_t n = send(fd, text + at, len - at, MSG_NOSIGNAL);
    if (n <= 0) return;
    at += (size_t)n;
  }
}

static void server_json(int fd, const char *status, const char *headers, const char *body) {
  char text[16384];
  snprintf(text, sizeof text, "HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n%s", status, headers,
           strlen(body), body);
  server_send(fd, text);
}

// Answers one request; false closes the connection.
static bool server_answer(struct server_conn *c, const char *path, const char *body) {
  struct server *s = c->server;
  if (strncmp(path, "/echo", 5) == 0) {
    server_json(c->fd, "200 OK", "", body);
  } else if (strncmp(path, "/drop", 5) == 0) {
    return false;
  } else if (strncmp(path, "/second-drops", 13) == 0) {
    if (c->ordinal > 0) return false;
    server_json(c->fd, "200 OK", "", "{}");
  } else if (strncmp(path, "/then-ends", 10) == 0) {
    server_json(c->fd, "200 OK", "", "{}");
    return false;
  } else if (strncmp(path, "/silence", 8) == 0) {
    char byte;
    while (recv(c->fd, &byte, 1, 0) > 0)
      continue;
    return false;
  } else if (strncmp(path, "/endless", 8) == 0) {
    server_send(c->fd, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    char block[4096];
    memset(block, 'x', sizeof block);
    for (int i = 0; i < 4096; i++)
      if (send(c->fd, block, sizeof block, MSG_NOSIGNAL) <= 0) break;
    return false;
  } else if (strncmp(path, "/redirect", 9) == 0) {
    server_json(c->fd, "302 Found", "Location: /echo\r\n", "");
  } else if (strncmp(path, "/busy", 5) == 0) {
    server_json(c->fd, "429 Too Many Requests", "Retry-After: 7\r\n", "{}");
  } else if (strncmp(path, "/until", 6) == 0) { // by a clock that is years behind
    server_json(c->fd, "503 Service Unavailable", "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:51:07 GMT\r\n",
                "{}");
  } else if (strncmp(path, "/usage", 6) == 0) {
    server_json(c->fd, "400 Bad Request",
                "X-Business-Use-Case-Usage: {\"1\":[{\"type\":\"a\",\"estimated_time_to_regain_access\":3},"
                "{\"estimated_time_to_regain_access\":5}]}\r\n",
                "{}");
  } else {
    char answer[sizeof s->answer];
    pthread_mutex_lock(&s->lock);
    memcpy(answer, s->answer, sizeof answer);
    pthread_mutex_unlock(&s->lock);
    server_send(c->fd, answer);
  }
  return true;
}

static void *server_serve(void *ctx) {
  struct server_conn *c = ctx;
  struct buf in = {0};
  for (;;) {
    char *end;
    while (!in.data || !(end = memmem(in.data, in.len, "\r\n\r\n", 4))) {
      ssize_t n = recv(c->fd, buf_reserve(&in, 4096), 4096, 0);
      if (n <= 0) goto out;
      in.len += (size_t)n;
      in.data[in.len] = '\0';
    }
    size_t head = (size_t)(end - in.data) + 4, length = 0;
    const char *field = strcasestr(in.data, "\r\ncontent-length:");
    if (field && field < end) length = strtoul(field + 17, NULL, 10);
    while (in.len < head + length) {
      ssize_t n = recv(c->fd, buf_reserve(&in, 4096), 4096, 0);
      if (n <= 0) goto out;
      in.len += (size_t)n;
      in.data[in.len] = '\0';
    }
    struct server *s = c->server;
    pthread_mutex_lock(&s->lock);
    s->requests++;
    snprintf(s->head, sizeof s->head, "%.*s", (int)head, in.data);
    snprintf(s->body, sizeof s->body, "%.*s", (int)length, in.data + head);
    pthread_mutex_unlock(&s->lock);
    char path[512] = "", *body = span_dup((struct span){in.data + head, length});
    sscanf(in.data, "%*s %511s", path);
    bool keep = server_answer(c, path, body);
    free(body);
    buf_consume(&in, head + length);
    c->ordinal++;
    if (!keep) break;
  }
out:
  buf_free(&in);
  shutdown(c->fd, SHUT_RDWR);
  close(c->fd);
  free(c);
  return NULL;
}

static void *server_accept(void *ctx) {
  struct server *s = ctx;
  for (;;) {
    int fd = accept(s->fd, NULL, NULL);
    if (fd < 0) return NULL;
    pthread_mutex_lock(&s->lock);
    s->connections++;
    pthread_mutex_unlock(&s->lock);
    struct server_conn *c = xcalloc(1, sizeof *c);
    c->server = s;
    c->fd = fd;
    pthread_t thread;
    if (pthread_create(&thread, NULL, server_serve, c)) abort();
    pthread_detach(thread);
  }
}

static void server_start(struct server *s) {
  memset(s, 0, sizeof *s);
  pthread_mutex_init(&s->lock, NULL);
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof in;
  s->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&in, sizeof in) || listen(s->fd, 64) || getsockname(s->fd, (struct sockaddr *)&in, &len))
    abort();
  s->port = ntohs(in.sin_port);
  if (pthread_create(&s->thread, NULL, server_accept, s)) abort();
}

static void server_stop(struct server *s) {
  shutdown(s->fd, SHUT_RDWR);
  pthread_join(s->thread, NULL);
  close(s->fd);
}

static inline void server_set_answer(struct server *s, const char *status, const char *body) {
  pthread_mutex_lock(&s->lock);
  snprintf(s->answer, sizeof s->answer, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", status,
           strlen(body), body);
  pthread_mutex_unlock(&s->lock);
}

static inline unsigned server_requests(struct server *s) {
  pthread_mutex_lock(&s->lock);
  unsigned n = s->requests;
  pthread_mutex_unlock(&s->lock);
  return n;
}

static inline unsigned server_connections(struct server *s) {
  pthread_mutex_lock(&s->lock);
  unsigned n = s->connections;
  pthread_mutex_unlock(&s->lock);
  return n;
}

#endif
