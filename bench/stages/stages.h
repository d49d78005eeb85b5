// What the stages share: a clock around work, and signed requests to work on.
#ifndef BENCH_STAGES_H
#define BENCH_STAGES_H

#include "wahook/base.h"
#include "wahook/loop.h"
#include "wahook/shm.h"

#define STAGE_SECRET "bench-app-secret"
#define STAGE_PHONES 100 // businesses that messages are for

// Does `n` operations.
typedef void stage_work(void *ctx, uint64_t n);
// Times it: as many operations as take a while, several times over, of which the fastest counts: the others were disturbed.
void stage_time(const char *name, stage_work *work, void *ctx);
// A figure that was found in another way.
void stage_tell(const char *name, const char *unit, double value);
// Whether the command line asks for stages that begin like this.
bool stage_wanted(const char *name);

// Distinct signed webhooks as wahook-load sends them: the n-th one is the same bytes each time. Valid until the next call.
struct span stage_request(uint64_t n);
struct span stage_body(struct span request);
void stage_phone(uint64_t n, char out[static 24]);

// A temporary folder of its own below the one that the command line names.
void stage_folder(char out[static 256]);
void stage_folder_remove(const char *path);

// One per file.
void stages_http(void);
void stages_webhook(void);
void stages_directory(void);
void stages_limiter(void);
void stages_journal(void);
void stages_spool(void);
void stages_graph(void);

#endif
