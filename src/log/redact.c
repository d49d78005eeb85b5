// What a log may show of a phone number, an id or a secret. Runs in every process.
#include "wahook/log.h"

#include <stdio.h>

// Below this many bytes the first four would be a good part of it.
#define SECRET_SHOWN_FROM 16
#define PHONE_SHOWN_FROM  8

const char *log_redact_secret(struct span secret, char out[static LOG_REDACTED_MAX]) {
  if (!secret.ptr || secret.len < SECRET_SHOWN_FROM) {
    snprintf(out, LOG_REDACTED_MAX, secret.ptr ? "***(%zu)" : "-", secret.len);
    return out;
  }
  char head[5] = {0};
  for (int i = 0; i < 4; i++)
    head[i] = secret.ptr[i] > 0x20 && secret.ptr[i] < 0x7f ? secret.ptr[i] : '?';
  snprintf(out, LOG_REDACTED_MAX, "%s***(%zu)", head, secret.len);
  return out;
}

const char *log_redact_phone(struct span phone, char out[static LOG_REDACTED_MAX]) {
  struct span digits = phone.len > 0 && phone.ptr[0] == '+' ? span_from(phone, 1) : phone;
  for (size_t i = 0; i < digits.len; i++) {
    if (digits.ptr[i] < '0' || digits.ptr[i] > '9') return log_redact_secret(phone, out); // a user id, or nothing that we know
  }
  if (digits.len < PHONE_SHOWN_FROM) {
    snprintf(out, LOG_REDACTED_MAX, phone.ptr ? "***" : "-");
    return out;
  }
  snprintf(out, LOG_REDACTED_MAX, "%.4s***%.2s", digits.ptr, digits.ptr + digits.len - 2);
  return out;
}
