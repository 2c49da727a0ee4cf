# What the Makefiles of the firmware examples share: how an exported model becomes a program for
# a board, and how QEMU runs that. They set MODEL, NAME, TARGET, CPU, MACHINE, MEMORY, EMBEDDED
# (files that main.c needs) and GIVEN (what those are made from); they may set EXPORT.

PYTHON ?= python3
CROSS ?= arm-none-eabi-
QEMU ?= qemu-system-arm
OPTIMISE ?= -O2
STACK ?= 4096
BUILD ?= build
BUILT ?= # a file that is new when lstmc is: the model is converted again then
SPACE := $(subst ,, )
STAMP = $(subst $(SPACE),\ ,$(strip $(BUILT)))
BOARD := $(dir $(lastword $(MAKEFILE_LIST)))
LSTMC = "$(PYTHON)" -P -m lstmc

# -std=c99: without it, GCC fuses a*b+c in code of your own, which changes its bits. The model's
# are safe with any flags: those that would change them, as -ffast-math, are an error there.
CFLAGS = -std=c99 $(CPU) $(OPTIMISE) -g -Wall -Wextra -Wconversion -Wshadow \
	-ffunction-sections -fdata-sections -I$(BUILD) -I$(BOARD)
LDFLAGS = $(CPU) -nostartfiles -Wl,--gc-sections -T $(BOARD)link.ld \
	$(foreach m,$(MEMORY) STACK_SIZE=$(STACK),-Wl,--defsym=$(m))

# An instruction takes 1 ns of the board's time (shift=0): so its timer counts instructions.
EMULATE = $(QEMU) -M $(MACHINE) -icount shift=0 -display none -monitor none -serial none \
	-chardev stdio,id=said -semihosting-config enable=on,target=native,chardev=said

EXPORTED = $(BUILD)/$(NAME).c $(BUILD)/$(NAME)_weights.c
OBJECTS = $(BUILD)/main.o $(BUILD)/board.o $(EXPORTED:.c=.o)
PROGRAM = $(BUILD)/firmware.elf

.DEFAULT_GOAL = run
.DELETE_ON_ERROR:
.PHONY: run emulate tools clean flags

# The exporter's memory report, then what was linked. In flash: text (code and constants) and data;
# in RAM: data and bss, which has the stack.
emulate: $(PROGRAM)
	@sed -n 's/^ \* \(.* bytes\)/\1/p; s/^ \* \(multiply-adds\)/\1/p' $(BUILD)/$(NAME).h
	@echo
	@$(CROSS)size $(EXPORTED:.c=.o) $< | sed 's|$(BUILD)/||'
	@echo
	@$(EMULATE) -kernel $< >$(BUILD)/said.txt; status=$$?; \
	sed '/^bits /d' $(BUILD)/said.txt; exit $$status

tools:
	@for tool in $(CROSS)gcc $(QEMU); do command -v $$tool >/dev/null || { \
	    echo "make: no $$tool here; on Debian: apt-get install gcc-arm-none-eabi" \
	    "libnewlib-arm-none-eabi qemu-system-arm" >&2; exit 1; }; done
	@"$(PYTHON)" -P -c 'import lstmc, onnx' 2>/dev/null || { echo "make: $(PYTHON) has no lstmc" \
	    "or no onnx: pip install 'lstmc[convert]', or make PYTHON=another" >&2; exit 1; }

# One command writes all files of a model.
$(BUILD)/$(NAME).c: $(BUILD)/$(NAME).lstmc $(BUILD)/flags
	$(LSTMC) export $(BUILD)/$(NAME).lstmc -o $(BUILD) --name $(NAME) --target $(TARGET) $(EXPORT) \
	    >/dev/null
$(BUILD)/$(NAME).h $(BUILD)/$(NAME)_weights.c: $(BUILD)/$(NAME).c ;

$(BUILD)/%.o: $(BUILD)/%.c $(BUILD)/flags
	@$(CROSS)gcc $(CFLAGS) -c $< -o $@
$(BUILD)/%.o: $(BOARD)%.c $(BOARD)board.h $(BUILD)/flags
	@$(CROSS)gcc $(CFLAGS) -c $< -o $@
$(BUILD)/main.o: main.c $(BOARD)board.h $(BUILD)/$(NAME).h $(EMBEDDED) $(BUILD)/flags
	@$(CROSS)gcc $(CFLAGS) -c $< -o $@

$(PROGRAM): $(OBJECTS) $(BOARD)link.ld
	@$(CROSS)gcc $(OBJECTS) $(LDFLAGS) -o $@

# With other settings than last time, all is made again.
SETTINGS = $(CROSS) $(CFLAGS) $(LDFLAGS) $(TARGET) $(EXPORT) $(MODEL) $(GIVEN)
flags:
$(BUILD)/flags: flags | tools
	@mkdir -p $(BUILD)
	@echo '$(SETTINGS)' | cmp -s - $@ || echo '$(SETTINGS)' >$@

clean:
	@rm -rf $(BUILD)
