// Feeds every file of a directory to a fuzz target, in the ordinary build: `fuzz_http test/fuzz/corpus/http` prints `http: 40 inputs`.
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wahook/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX_BYTES (16u << 20)

static unsigned replay_directory(const char *path) {
  struct dirent **names;
  int count = scandir(path, &names, NULL, alphasort);
  if (count < 0) {
    fprintf(stderr, "replay: cannot read the directory %s\n", path);
    exit(66);
  }
  unsigned inputs = 0;
  for (int i = 0; i < count; i++) {
    struct buf name = {0}, bytes = {0};
    if (names[i]->d_name[0] != '.') {
      buf_printf(&name, "%s/%s", path, names[i]->d_name);
      if (buf_read_file(&bytes, name.data, INPUT_MAX_BYTES) != ERR_OK) {
        fprintf(stderr, "replay: cannot read %s\n", name.data);
        exit(66);
      }
      // A copy of exactly that size, so that a sanitizer sees reads behind it.
      uint8_t *input = xmalloc(bytes.len ? bytes.len : 1);
      if (bytes.len) memcpy(input, bytes.data, bytes.len);
      LLVMFuzzerTestOneInput(input, bytes.len);
      free(input);
      inputs++;
    }
    buf_free(&bytes);
    buf_free(&name);
    free(names[i]);
  }
  free(names);
  return inputs;
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
    return 64;
  }
  const char *name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
  if (!strncmp(name, "fuzz_", 5)) name += 5;
  unsigned inputs = replay_directory(argv[1]);
  printf("%s: %u inputs\n", name, inputs);
  return 0;
}
