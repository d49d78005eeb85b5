// The table of chars.h. Runs in workers and tools.
#include "chars.h"

#define LETTER (HTTP__ALPHA | HTTP__TOKEN | HTTP__NAME | HTTP__TARGET)
#define MARK   (HTTP__TOKEN | HTTP__TARGET)

const uint8_t http__chars[256] = {
    ['0' ... '9'] = HTTP__DIGIT | HTTP__HEX | HTTP__TOKEN | HTTP__NAME | HTTP__TARGET,
    ['a' ... 'f'] = LETTER | HTTP__HEX,
    ['A' ... 'F'] = LETTER | HTTP__HEX | HTTP__UPPER,
    ['g' ... 'z'] = LETTER,
    ['G' ... 'Z'] = LETTER | HTTP__UPPER,
    ['-'] = MARK | HTTP__NAME,
    ['.'] = MARK | HTTP__NAME,
    ['_'] = MARK | HTTP__NAME,
    ['~'] = MARK | HTTP__NAME,
    ['!'] = MARK,
    ['$'] = MARK,
    ['%'] = MARK,
    ['&'] = MARK,
    ['\''] = MARK,
    ['*'] = MARK,
    ['+'] = MARK,
    ['^'] = MARK,
    ['`'] = MARK,
    ['|'] = MARK,
    ['#'] = HTTP__TOKEN,
    ['"'] = HTTP__TARGET,
    ['('] = HTTP__TARGET,
    [')'] = HTTP__TARGET,
    [','] = HTTP__TARGET,
    ['/'] = HTTP__TARGET,
    [':' ... '@'] = HTTP__TARGET,
    ['['] = HTTP__TARGET,
    [']'] = HTTP__TARGET,
    ['{'] = HTTP__TARGET,
    ['}'] = HTTP__TARGET,
};
