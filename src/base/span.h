// Shared inside base: one UTF-8 decoder step for the validator, the JSON reader and the JSON writer.
#ifndef WAHOOK_BASE_SPAN_H
#define WAHOOK_BASE_SPAN_H

#include "wahook/base.h"

// Length of the well-formed sequence at p (RFC 3629 section 4: no overlong forms, no surrogates, at most U+10FFFF), or 0. left > 0.
size_t span__utf8_sequence(const unsigned char *p, size_t left);
// Length of the longest prefix that is valid UTF-8.
size_t span__utf8_prefix(struct span s);

#endif
