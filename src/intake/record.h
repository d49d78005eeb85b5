// What writer and reader must know about a record besides encoding it.
#ifndef INTAKE_RECORD_H
#define INTAKE_RECORD_H

#include <stddef.h>

#define RECORD_MAGIC        0x31524857u // "WHR1"
#define RECORD_HEADER_BYTES 40
#define RECORD_ALIGN        8
#define RECORD_MAX_BYTES    (256u << 20)
#define INTAKE_FIELD_MAX    65535 // longer fields (never `raw`) are cut

// The size that a header of RECORD_HEADER_BYTES bytes states, checked for plausibility only.
size_t intake__record_claimed_size(const char *header);

#endif
