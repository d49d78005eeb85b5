// The texts of a business, listed once: copying, wiping, columns and JSON follow this list.
#ifndef WAHOOK_DIRECTORY_FIELDS_H
#define WAHOOK_DIRECTORY_FIELDS_H

// field (also the column's name), path in the JSON document, wiped when freed
#define BUSINESS_TEXTS(X)                                                                                                                  \
  X(id, "_id", false)                                                                                                                      \
  X(name, "name", false)                                                                                                                   \
  X(sub_domain, "subDomain", false)                                                                                                        \
  X(waba_id, "wabaId", false)                                                                                                              \
  X(access_token, "whatsappAccessToken", true)                                                                                             \
  X(refresh_token, "whatsappRefreshToken", true)                                                                                           \
  X(app_secret, "appSecret", true)                                                                                                         \
  X(rate_limit, "rateLimit", false)                                                                                                        \
  X(retention, "retention", false)                                                                                                         \
  X(verify_token, "verifyToken", true)                                                                                                     \
  X(responder_type, "responder.type", false)                                                                                               \
  X(responder_url, "responder.url", false)                                                                                                 \
  X(responder_key, "responder.key", true)                                                                                                  \
  X(responder_model, "responder.model", false)                                                                                             \
  X(responder_prompt, "responder.systemPrompt", false)

#endif
