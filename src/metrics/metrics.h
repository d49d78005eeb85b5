// Shared by the files of metrics/ only.
#ifndef METRICS_METRICS_H
#define METRICS_METRICS_H

#include "wahook/metrics.h"

void metrics__histogram_prometheus(const struct shm *shm, enum histogram histogram, const char *name, const char *labels, struct buf *out);

#endif
