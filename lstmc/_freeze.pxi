# What a session is laid out as, for lstmc.export: it becomes constant data of a firmware.

cdef extern from "session.h" nogil:
    ctypedef struct lstmc_layer_ops:
        uint32_t code
        uint32_t prepared_size
    ctypedef struct lstmc_node:
        const lstmc_layer_ops *ops
        void *prepared
        float *state
        size_t state_stride
    ctypedef struct lstmc_view:
        float *data
    ctypedef struct lstmc_call:
        lstmc_view *views
    ctypedef struct lstmc_rows:
        float *region
    ctypedef struct _Inside "struct lstmc_session":
        lstmc_node *nodes
        float *state
        size_t state_floats
        lstmc_call call
        lstmc_rows rows


def freeze(Model model not None, uint32_t time):
    """A session of one row and `time` steps a call, as numbers.

    `layers`: (code, record, state, floats of state) each: `record` is the bytes of the layer's
    prepared struct, `state` a place in the state's floats. `places`: of each value its place in the floats of `values`, or
    in those of the state (as -1 - place), None for the caller's arrays. `blob`: (address, bytes),
    which pointers in records point into. Sizes in floats: `state`, `scratch`, `values`.
    """
    cdef lstmc_config config
    cdef lstmc_memory use
    cdef lstmc_node *node
    cdef float *data
    cdef const float *end
    cdef uint32_t i
    config.batch = 1
    config.time = time
    config.target = 1
    config.parallel = NULL
    config.frugal = 1
    config.apart = 0
    cdef int status = lstmc_memory_use(&use, &model.model, &config, LSTMC_NONE)
    if status:
        raise _errors.OutOfMemoryError(f"a session of {time} steps is beyond any memory")
    cdef size_t size = use.tables + use.record + use.state + use.scratch + use.values
    cdef char *memory = <char *>calloc(size + 64, 1)  # layers leave out what they have not
    cdef lstmc_session *session
    if memory == NULL:
        raise _errors.OutOfMemoryError(f"{size} bytes for a session could not be allocated")
    try:
        status = lstmc_session_init(
            &session, &model.model, &config, memory + (64 - <uintptr_t>memory % 64), size
        )
        if status:
            _fail(status)
        inside = <_Inside *>session
        layers = []
        for i in range(model.model.layer_count):
            node = &inside.nodes[i]
            record = (<char *>node.prepared)[: node.ops.prepared_size]
            place = node.state - inside.state
            layers.append((node.ops.code, record, place, node.state_stride))
        places = []
        end = inside.state + inside.state_floats
        for i in range(model.model.value_count):
            data = inside.call.views[i].data
            if data == NULL:
                places.append(None)
            elif inside.state <= data < end:
                places.append(-1 - (data - inside.state))
            else:
                places.append(data - inside.rows.region)
        return {
            "layers": layers,
            "places": places,
            "blob": (<uintptr_t>model.blob.view.buf, model.blob.view.len),
            "state": inside.state_floats,
            "scratch": use.scratch // sizeof(float),
            "values": use.values // sizeof(float),
        }
    finally:
        free(memory)
