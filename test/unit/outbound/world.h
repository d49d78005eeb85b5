// What the tests of requests share: a loop, its outbound, and a server on a thread to talk to.
#ifndef TEST_OUTBOUND_WORLD_H
#define TEST_OUTBOUND_WORLD_H

#include "outbound/server.h"
#include "wahook/outbound.h"

static struct server server;
static struct loop *loop;
static struct outbound *outbound;

static void stop_loop(void *ctx) {
  (void)ctx;
  loop_stop(loop);
}

static int set_up(void **state) {
  (void)state;
  server_start(&server);
  loop = loop_new(0);
  outbound = outbound_new(&(struct outbound_options){.loop = loop});
  return 0;
}

// A test that has closed its outbound itself leaves NULL.
static int tear_down(void **state) {
  (void)state;
  if (outbound) {
    outbound_close(outbound, stop_loop, NULL);
    loop_run(loop);
  }
  loop_free(loop);
  server_stop(&server);
  return 0;
}

#endif
