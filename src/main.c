// The program: master, worker or dispatcher, as it was started.
#include "wahook/supervisor.h"

#include <unistd.h>

int main(int argc, char **argv) {
  return supervisor_main(argc, argv, environ);
}
