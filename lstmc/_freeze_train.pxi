# What a trainer is laid out as, for lstmc.export.

cdef extern from "internal.h" nogil:
    ctypedef struct lstmc_layer:
        uint32_t input_count
        uint32_t output_count
    void lstmc_layer_get(const lstmc_model *model, uint32_t index, lstmc_layer *layer)


cdef extern from "train/trainer.h" nogil:
    ctypedef struct lstmc_train_ops:
        uint32_t prepared_size
        uint32_t blocks
    ctypedef struct lstmc_train_node:
        const lstmc_train_ops *ops
        void *prepared
        size_t saved_floats
        size_t packed_floats
    ctypedef struct _Trained "struct lstmc_trainer":
        _Inside *session
        lstmc_train_node *nodes
        float **moved
        float **gradients
        lstmc_view *value_grads
        float **extra
        size_t scratch_floats


def freeze_training(Model model not None, uint32_t time, bytes frozen, bint recompute):
    """A trainer of one row and sequences of `time` steps, as numbers; frozen: a byte for each layer.

    `layers`: of each layer (code, record, state, floats of state, training), as `freeze` has it;
    training is None where gradients don't come, or (record, saved, packed, blocks): bytes, floats of
    what forward keeps and of copies of weights, bit i: input i gets no gradient. `extra`: for each
    layer's inputs whether another gradient is added to what it gives. `tensors`: of each tensor
    (address of its weights, of its gradients), 0 where it is not trained. `wanted`: of each value
    whether it has a gradient. Sizes in floats: `state`, `scratch`; those of values follow from the
    steps of each clock.
    """
    cdef lstmc_train_config config
    cdef lstmc_config inner
    cdef lstmc_memory use
    cdef lstmc_trainer *trainer
    cdef size_t size
    cdef uint32_t i, j, port = 0
    cdef lstmc_layer layer
    cdef lstmc_node *node
    cdef lstmc_train_node *trained
    config.batch = 1
    config.time = time
    config.target = 1
    config.parallel = NULL
    config.frozen = <const unsigned char *>frozen
    config.input_gradients = 0
    config.slots = 0
    config.carry = 0
    config.dropouts = NULL
    config.dropout_count = 0
    config.recompute = recompute
    config.frugal = 1
    if <uint32_t>len(frozen) != model.model.layer_count:
        raise _errors.ShapeError("frozen must say something about each layer")
    cdef int status = lstmc_train_arena_size(&size, &model.model, &config)
    if status == LSTMC_E_UNSUPPORTED:
        raise _errors.ConversionError("a layer of this model has no training")
    if status:
        raise _errors.OutOfMemoryError(f"a trainer for {time} steps is beyond any memory")
    inner.batch = 1
    inner.time = time
    inner.target = 1
    inner.parallel = NULL
    inner.frugal = 1
    inner.apart = 1
    status = lstmc_memory_use(&use, &model.model, &inner, LSTMC_NONE)
    if status:
        _fail(status)
    cdef size_t scratch = use.scratch // sizeof(float)
    cdef _Trained *inside
    cdef object training  # inferring its type, Cython 3.3 does not end
    cdef list layers = [], extra = [], tensors = [], wanted = [], apart
    cdef char *memory = <char *>calloc(size + 64, 1)  # layers leave out what they have not
    if memory == NULL:
        raise _errors.OutOfMemoryError(f"{size} bytes for a trainer could not be allocated")
    try:
        status = lstmc_trainer_init(
            &trainer, &model.model, &config, memory + (64 - <uintptr_t>memory % 64), size
        )
        if status:
            _fail(status)
        inside = <_Trained *>trainer
        for i in range(model.model.layer_count):
            node = &inside.session.nodes[i]
            trained = &inside.nodes[i]
            record = (<char *>node.prepared)[: node.ops.prepared_size]
            training = None
            if trained.ops != NULL:
                training = (
                    (<char *>trained.prepared)[: trained.ops.prepared_size],
                    trained.saved_floats, trained.packed_floats, trained.ops.blocks,
                )
            place = node.state - inside.session.state
            layers.append((node.ops.code, record, place, node.state_stride, training))
            lstmc_layer_get(&model.model, i, &layer)
            apart = []
            for j in range(layer.input_count):
                apart.append(inside.extra[port + j] != NULL)
            extra.append(apart)
            port += layer.input_count + layer.output_count
        for i in range(model.model.tensor_count):
            tensors.append((<uintptr_t>inside.moved[i], <uintptr_t>inside.gradients[i]))
        for i in range(model.model.value_count):
            wanted.append(inside.value_grads[i].data != NULL)
        if inside.scratch_floats > scratch:
            scratch = inside.scratch_floats
        return {
            "layers": layers,
            "extra": extra,
            "tensors": tensors,
            "wanted": wanted,
            "state": inside.session.state_floats,
            "scratch": scratch,
        }
    finally:
        free(memory)
