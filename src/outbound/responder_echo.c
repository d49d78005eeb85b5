// The responder that says the same text back, for trying things out. Runs in the dispatcher.
#include "responder.h"

void responder__echo(struct outbound *outbound, const struct responder_spec *spec, const struct responder_question *question,
                     responder_done *on_done, void *ctx) {
  (void)spec;
  struct ask *ask = responder__ask_new(on_done, ctx);
  responder__add_text(ask, question->text);
  responder__finish_later(outbound, ask);
}
