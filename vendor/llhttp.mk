# llhttp: a library package on newer Debian (libllhttp-dev); on Debian 12 its C sources come in the package node-llhttp and are
# compiled here. Strict mode is a promise of ours: plainly built, llhttp 8 takes CR + any byte for CRLF, which invites request smuggling.
LLHTTP_SRC_DIR ?= /usr/share/llhttp
LLHTTP_INC_DIR ?= /usr/share/include/llhttp

ifneq ($(shell pkg-config --exists libllhttp 2>/dev/null && echo yes),)
LLHTTP_CFLAGS := $(shell pkg-config --cflags libllhttp)
LLHTTP_LIB    :=
PKG           += libllhttp
else
LLHTTP_CFLAGS := -isystem $(LLHTTP_INC_DIR)
LLHTTP_LIB    := $(BUILD)/vendor/libllhttp.a
$(BUILD)/vendor/%.o: $(LLHTTP_SRC_DIR)/%.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(OPT) -g -w $(SAN) -DLLHTTP_STRICT_MODE=1 -I$(LLHTTP_INC_DIR) -c $< -o $@
$(LLHTTP_LIB): $(BUILD)/vendor/api.o $(BUILD)/vendor/http.o $(BUILD)/vendor/llhttp.o
	@rm -f $@
	@ar rcs $@ $^
endif
