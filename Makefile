# Pictures compared in pairs, by the names that image-pair tools document; for all else
# see the justfile, or `choral help`.
#
#   make precompute INPUT=photos OUTPUT=my_embeddings BATCH=8
#   make generate EMBEDS=my_embeddings A=0 B=1 TOKENS=100
#   make batch-generate EMBEDS=my_embeddings BATCH=64 TOKENS=50
#   make batch-generate EMBEDS=my_embeddings PAIRS=pairs.txt
#   make batch-single EMBEDS=my_embeddings INDICES=indices.txt
#   make demo-images
#
# WEIGHTS=MODEL names a model; without it the small one that ships is used. OUT=FILE writes
# answers as JSON lines, PROMPT=TEXT asks something else, and variables of the environment
# (GLM_SEED=42, GLM_DO_SAMPLE=0, ...) count as they do without make.

.PHONY: help build precompute generate batch-generate batch-single describe report demo-images

# What is not said stays unsaid, so that the environment can say it.
CHORAL ?= cargo run --release --quiet --
quoted = '$(subst ','\'',$(1))'
option = $(if $(strip $(2)),$(1) $(call quoted,$(2)))
common = $(call option,--model,$(WEIGHTS)) $(call option,--embeds,$(EMBEDS)) \
	$(call option,--max-tokens,$(TOKENS)) $(call option,--prompt,$(PROMPT)) \
	$(call option,--seed,$(SEED)) $(call option,--output,$(OUT))

described = $(CHORAL) images describe $(call option,--indices,$(INDICES)) \
	$(call option,--batch-size,$(BATCH)) $(common)

help:
	@sed -n '4,13s/^# \{0,1\}//p' Makefile

build:
	cargo build --release

precompute:
	$(CHORAL) images precompute $(if $(INPUT),$(call quoted,$(INPUT))) \
		$(call option,--output,$(OUTPUT)) $(call option,--batch-size,$(BATCH)) \
		$(call option,--image-size,$(SIZE)) $(call option,--model,$(WEIGHTS))

generate:
	GLM_BATCH_GENERATE=0 GLM_GENERATE=1 $(CHORAL) images pairs $(call option,-a,$(A)) \
		$(call option,-b,$(B)) $(common)

batch-generate:
	GLM_BATCH_GENERATE=1 $(CHORAL) images pairs $(call option,--pairs,$(PAIRS)) \
		$(call option,--batch-size,$(BATCH)) $(common)

batch-single:
	GLM_BATCH_SINGLE_IMAGE=1 $(described)

describe:
	$(described)

report:
	$(CHORAL) images report $(call quoted,$(or $(RESULTS),results.jsonl)) $(call option,--output,$(OUT))

# The pictures that ship, compared by the model that ships: answers here, and as a page.
DEMO := target/demo-images
demo-images:
	@rm -rf $(DEMO) && mkdir -p $(DEMO)
	$(CHORAL) images precompute examples/pictures --output $(DEMO)/store --quiet
	$(CHORAL) images pairs --embeds $(DEMO)/store --pairs examples/pictures/pairs.txt \
		--prompt 'Which picture has more circles?' --do-sample 0 --quiet
	$(CHORAL) images pairs --embeds $(DEMO)/store --pairs examples/pictures/pairs.txt \
		--prompt 'Compare the two pictures.' --do-sample 0 --output $(DEMO)/results.jsonl --quiet
	$(CHORAL) images report $(DEMO)/results.jsonl --output $(DEMO)/report.html
