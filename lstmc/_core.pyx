# cython: language_level=3, boundscheck=False, wraparound=False
"""Binding of c_src/lstmc.h. No mathematics here: shapes in, pointers down, statuses out.

Arrays must be C-contiguous float32 (lengths int32) of the right size: lstmc.model sees to that. What
is wrong all the same is an error, never a wild access.
"""

cimport cpython.buffer as _buffer
cimport cython
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release
from cpython.exc cimport PyErr_CheckSignals, PyErr_Clear, PyErr_ExceptionMatches
from cpython.object cimport PyObject
from libc.stdint cimport int32_t, uint32_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy as _memcpy

from numpy import dtype as _dtype, empty as _empty, ndarray as _ndarray

from . import errors as _errors


cdef extern from "Python.h":
    ctypedef struct PyMethodDef:
        const char *ml_name
        void *ml_meth
        int ml_flags
        const char *ml_doc
    int METH_FASTCALL
    int METH_KEYWORDS
    object PyDescr_NewMethod(type cls, PyMethodDef *method)
    # Not as Cython declares it: a step asks for an error itself, and for a call without a dict.
    int PyObject_GetBuffer(PyObject *exporter, Py_buffer *view, int flags) noexcept
    object PyObject_Call(object callable, object args, PyObject *named)
    void *Py_TYPE(PyObject *o) noexcept
    PyObject *PyList_GetItem(PyObject *items, Py_ssize_t index) noexcept
    PyObject *PyTuple_GetItem(PyObject *items, Py_ssize_t index) noexcept
    Py_ssize_t PyTuple_Size(PyObject *items) noexcept


cdef extern from "lstmc.h" nogil:
    const char *LSTMC_VERSION_STRING
    enum:
        LSTMC_OK
        LSTMC_E_ARGUMENT
        LSTMC_E_TARGET
        LSTMC_E_SHAPE
        LSTMC_E_INVALID
        LSTMC_E_UNSUPPORTED
        LSTMC_NONE
        LSTMC_TARGET_COUNT
    ctypedef int lstmc_target
    ctypedef struct lstmc_fn:
        uint32_t kind
        float alpha
        float beta
    ctypedef struct lstmc_model:
        uint32_t input_count
        uint32_t output_count
        uint32_t layer_count
        uint32_t clock_count
        uint32_t value_count
        uint32_t tensor_count
        uint32_t bad_record
    ctypedef struct lstmc_session:
        pass
    ctypedef struct lstmc_io_info:
        const char *name
        const uint32_t *dims
        uint32_t rank
        uint32_t features
        uint32_t has_time
        uint32_t clock
        uint32_t fixed_time
    ctypedef struct lstmc_parallel:
        void (*run)(void *pool, uint32_t parts, void (*body)(void *, uint32_t) noexcept nogil,
                    void *argument) noexcept nogil
        void *pool
        uint32_t threads
        uint32_t grain
    ctypedef struct lstmc_config:
        uint32_t batch
        uint32_t time
        lstmc_target target
        const lstmc_parallel *parallel
        uint32_t frugal
        uint32_t apart
    ctypedef struct lstmc_array:
        void *data
        size_t batch_stride
        size_t time_stride
        uint32_t time
        uint32_t all_rows
        uint32_t all_steps
    ctypedef struct lstmc_state_info:
        const char *layer
        const char *name
        uint32_t features
    const char *lstmc_status_text(int status)
    const char *lstmc_target_name(lstmc_target target)
    int lstmc_target_available(lstmc_target target)
    int lstmc_model_open(lstmc_model *model, const void *blob, size_t size)
    int lstmc_model_io(const lstmc_model *model, uint32_t index, lstmc_io_info *info)
    uint32_t lstmc_model_steps(const lstmc_model *model, uint32_t index, uint32_t time)
    const char *lstmc_model_whole(const lstmc_model *model)
    uint32_t lstmc_model_panel(const lstmc_model *model)
    int lstmc_arena_size(size_t *size, const lstmc_model *model, const lstmc_config *config)
    ctypedef struct lstmc_memory:
        size_t weights
        size_t tables
        size_t record
        size_t state
        size_t scratch
        size_t values
    int lstmc_memory_use(lstmc_memory *use, const lstmc_model *model, const lstmc_config *config,
                         uint32_t layer)
    int lstmc_session_init(lstmc_session **session, const lstmc_model *model,
                           const lstmc_config *config, void *arena, size_t size)
    int lstmc_run(lstmc_session *session, const lstmc_array *inputs, const lstmc_array *outputs,
                  uint32_t batch, uint32_t time, const int32_t *lengths)
    void lstmc_reset(lstmc_session *session)
    uint32_t lstmc_state_count(const lstmc_session *session)
    int lstmc_state_describe(const lstmc_session *session, uint32_t index,
                             lstmc_state_info *info)
    int lstmc_state_read(const lstmc_session *session, uint32_t index, float *data,
                         uint32_t batch)
    int lstmc_state_write(lstmc_session *session, uint32_t index, const float *data,
                          uint32_t batch)
    lstmc_target lstmc_session_target(const lstmc_session *session)
    uint32_t lstmc_digest(uint32_t seed, const float *data, size_t n)
    int lstmc_map(lstmc_target target, const lstmc_fn *fn, const float *x, float *y, size_t n)


cdef extern from "pool.h" nogil:
    uint32_t LSTMC_POOL_MOST
    bint LSTMC_POOL_WORKS
    void lstmc_pool_set_threads(uint32_t threads)
    void lstmc_pool_run(void *pool, uint32_t parts, void (*body)(void *, uint32_t) noexcept nogil,
                        void *argument) noexcept nogil


DEF MAX_ARRAYS = 32
DEF OVERLAP = -1000  # no status of the core

version = LSTMC_VERSION_STRING.decode()


cdef str _text(int status):
    return lstmc_status_text(status).decode()


cdef int _fail(int status) except -1:
    if status == LSTMC_E_TARGET:
        raise _errors.TargetError(_text(status))
    if status == LSTMC_E_SHAPE:
        raise _errors.ShapeError(_text(status))
    raise _errors.Error(_text(status))


def targets():
    """Names of the targets that this build has and this CPU runs, weakest first."""
    return [
        lstmc_target_name(t).decode()
        for t in range(1, LSTMC_TARGET_COUNT)
        if lstmc_target_available(t)
    ]


def target_code(str name):
    """The number of a target's name; 0 is "auto". TargetError if there is none here."""
    for t in range(LSTMC_TARGET_COUNT):
        if lstmc_target_name(t).decode() == name:
            if t and not lstmc_target_available(t):
                break
            return t
    raise _errors.TargetError(
        f"target '{name}' is not available here; this CPU and build have {', '.join(targets())}"
    )


def target_name(int code):
    """The inverse of target_code."""
    return lstmc_target_name(code).decode()


MAX_THREADS = LSTMC_POOL_MOST // 2  # the core cuts a step into twice as many parts at most


cdef uint32_t _grain = 0

# What sessions are made with now, as lstmc.threads and lstmc.runtime say; no session has these.
cdef uint32_t _threads = 0
cdef int _target = -1


def set_threads(uint32_t threads):
    """Let calls use at most so many threads from now on, 1 to MAX_THREADS; 0: not known yet."""
    global _threads
    _threads = threads
    if threads:
        lstmc_pool_set_threads(threads)


def set_target(int target):
    """The target that predict uses from now on, a number of target_code's; -1: not known yet."""
    global _target
    _target = target


def set_grain(uint32_t grain):
    """lstmc_parallel.grain of sessions made from now on; for tests, which cut small nets too."""
    global _grain
    _grain = grain


cdef class _Pointer:
    """A buffer held while its pointer is used."""

    cdef Py_buffer view
    cdef bint held

    def __cinit__(self, object array, bint writable=False):
        _buffer.PyObject_GetBuffer(
            array, &self.view, PyBUF_C_CONTIGUOUS | (PyBUF_WRITABLE if writable else 0)
        )
        self.held = True

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)


include "_arrays.pxi"


def digest(array, uint32_t seed=0):
    """lstmc_digest of a C-contiguous float32 buffer."""
    cdef _Pointer p = _Pointer(array)
    cdef uint32_t crc
    with nogil:
        crc = lstmc_digest(seed, <const float *>p.view.buf, <size_t>p.view.len // 4)
    return crc


def apply(int target, uint32_t kind, float alpha, float beta, x, y):
    """y = fn(x) for two C-contiguous float32 buffers of one size."""
    cdef _Pointer px = _Pointer(x)
    cdef _Pointer py = _Pointer(y, True)
    cdef lstmc_fn fn
    cdef int status
    if px.view.len != py.view.len:
        raise _errors.ShapeError("x and y differ in size")
    fn.kind = kind
    fn.alpha = alpha
    fn.beta = beta
    with nogil:
        status = lstmc_map(target, &fn, <const float *>px.view.buf, <float *>py.view.buf,
                           <size_t>px.view.len // 4)
    if status:
        _fail(status)


# An array of a call: what the core gets, and the strides between rows and steps.
cdef struct _Bound:
    lstmc_array array
    size_t batch_stride
    size_t time_stride


cdef class Model:
    """A checked view of a blob, which it keeps alive. May be shared by threads."""

    cdef lstmc_model model
    cdef _Pointer blob
    cdef readonly uint32_t input_count
    cdef readonly uint32_t output_count
    cdef readonly bint cuttable  # time may be cut into several calls

    def __init__(self, blob):
        self.blob = _Pointer(blob)
        cdef const void *data = self.blob.view.buf
        cdef size_t size = <size_t>self.blob.view.len
        cdef int status
        with nogil:
            status = lstmc_model_open(&self.model, data, size)
        if status:
            where = ""
            if self.model.bad_record != LSTMC_NONE and status in (
                LSTMC_E_INVALID, LSTMC_E_UNSUPPORTED
            ):
                where = f" (layer {self.model.bad_record})"
            raise _errors.FormatError(_text(status) + where)
        self.input_count = self.model.input_count
        self.output_count = self.model.output_count
        self.cuttable = lstmc_model_whole(&self.model) == NULL and self.model.clock_count <= 1
        cdef lstmc_io_info io
        for i in range(self.model.input_count):
            lstmc_model_io(&self.model, i, &io)
            if io.has_time and io.clock == LSTMC_NONE:  # all its steps belong to one call
                self.cuttable = False
        if self.input_count > MAX_ARRAYS or self.output_count > MAX_ARRAYS:
            raise _errors.FormatError(f"the model has more than {MAX_ARRAYS} inputs or outputs")

    @property
    def panel(self):
        return lstmc_model_panel(&self.model)

    def memory(self, uint32_t batch, uint32_t time):
        """lstmc_memory of a session of one thread, then that of each layer."""
        cdef lstmc_config config
        cdef lstmc_memory use
        cdef int status
        cdef uint32_t i
        cdef list found = []
        config.batch = batch
        config.time = time
        config.target = 0
        config.parallel = NULL
        config.frugal = 0
        config.apart = 0
        for i in range(self.model.layer_count + 1):
            status = lstmc_memory_use(&use, &self.model, &config, i - 1 if i else LSTMC_NONE)
            if status == LSTMC_E_ARGUMENT:
                raise _errors.OutOfMemoryError(
                    f"a session for {batch} rows of {time} steps is beyond any memory"
                )
            if status:
                _fail(status)
            found.append(use)
        return found


cdef class Session:
    """A session with its arena: at most `batch` rows and `time` steps a call, state kept.

    `threads` is how many it is laid out for; set_threads limits how many a call then uses.
    """

    cdef lstmc_session *session
    cdef lstmc_parallel parallel
    cdef void *memory
    cdef int32_t *lengths
    cdef bint busy
    cdef readonly Model model
    cdef readonly uint32_t batch
    cdef readonly uint32_t time
    cdef readonly size_t arena_bytes
    cdef readonly int requested  # the target asked for; 0 is auto
    cdef readonly uint32_t threads
    cdef Py_ssize_t single_in   # features of the only input and output; 0 if there are several
    cdef Py_ssize_t single_out
    cdef size_t bytes_in        # of one step
    cdef size_t bytes_out
    cdef tuple fresh            # what numpy.empty makes such an output of
    cdef bint long_step         # a step takes some microseconds: worth giving up the GIL
    cdef Session next           # idle ones: see Sessions

    def __cinit__(
        self, Model model not None, uint32_t batch, uint32_t time, int target,
        uint32_t threads=1,
    ):
        cdef lstmc_config config
        cdef size_t size = 0
        cdef int status
        self.model = model
        self.batch = batch
        self.time = time
        self.requested = target
        self.threads = threads
        config.batch = batch
        config.time = time
        config.target = target
        self.parallel.run = lstmc_pool_run
        self.parallel.threads = threads
        self.parallel.grain = _grain
        config.frugal = 0
        config.apart = 0
        config.parallel = &self.parallel if threads > 1 and LSTMC_POOL_WORKS else NULL
        status = lstmc_arena_size(&size, &model.model, &config)
        if status == LSTMC_E_ARGUMENT:
            raise _errors.OutOfMemoryError(
                f"a session for {batch} rows of {time} steps is beyond any memory"
            )
        if status:
            _fail(status)
        self.lengths = <int32_t *>malloc(4 * <size_t>batch)
        self.memory = malloc(size + 64)
        if self.memory == NULL or self.lengths == NULL:
            raise _errors.OutOfMemoryError(f"{size} bytes for a session could not be allocated")
        self.arena_bytes = size
        status = lstmc_session_init(
            &self.session, &model.model, &config,
            <char *>self.memory + (64 - <uintptr_t>self.memory % 64), size,
        )
        if status:
            _fail(status)
        cdef lstmc_io_info io
        if model.input_count == 1 and model.output_count == 1 and model.cuttable:
            if not _scattered(&model.model, 0) and not _scattered(&model.model, 1):
                lstmc_model_io(&model.model, 0, &io)
                self.single_in = io.features
                lstmc_model_io(&model.model, 1, &io)
                self.single_out = io.features
                self.bytes_in = 4 * <size_t>batch * self.single_in
                self.bytes_out = 4 * <size_t>batch * self.single_out
                self.fresh = (batch, self.single_out), _float32
        # What goes parallel is longer than this: no thread holds the GIL while it waits for others.
        self.long_step = batch * (
            <double>model.blob.view.len + 16.0 * (self.single_in + self.single_out)
        ) > 6e5

    def __dealloc__(self):
        free(self.memory)
        free(self.lengths)

    @property
    def target(self):
        """The target's number."""
        return lstmc_session_target(self.session)

    cdef int _enter(self) except -1:
        if self.busy:
            raise _errors.Error("this stream is being used by another thread")
        self.busy = True
        return 0

    def reset(self):
        """All states to zero."""
        self._enter()
        lstmc_reset(self.session)
        self.busy = False

    cdef int step(self, PyObject *x, PyObject *out) except -1:
        """One step of a model with one input and one output, without any conversion.

        0 if x or out is not an aligned C-contiguous float32 [batch, features] array, out writeable:
        then nothing has happened.
        """
        cdef Py_buffer vx
        cdef Py_buffer vy
        cdef void *px
        cdef void *py
        cdef int done = 0
        if self.single_in == 0 or self.busy:
            return 0
        px = _rows_of(x, self.batch, self.single_in, 0)
        py = _rows_of(out, self.batch, self.single_out, NPY_WRITEABLE)
        if px != NULL and py != NULL:
            done = self.step_at(px, py)
        else:
            if PyObject_GetBuffer(x, &vx, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0:
                return _no_buffer()
            if PyObject_GetBuffer(
                out, &vy, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE
            ) < 0:
                PyBuffer_Release(&vx)
                return _no_buffer()
            if (
                _is_rows(&vx, self.batch, self.single_in)
                and _is_rows(&vy, self.batch, self.single_out)
            ):
                done = self.step_at(vx.buf, vy.buf)
            PyBuffer_Release(&vy)
            PyBuffer_Release(&vx)
        if done < 0:
            _fail_step(done)
        return done

    cdef int step_at(self, void *x, void *y) noexcept:
        """One step of [batch, features] floats: 1, OVERLAP, or the negative status of the core."""
        cdef lstmc_array ax
        cdef lstmc_array ay
        cdef int status
        cdef size_t before = <uintptr_t>y - <uintptr_t>x  # in a circle: each begins behind the other
        if before < self.bytes_in or 0 - before < self.bytes_out:
            return OVERLAP
        ax.data = x
        ax.batch_stride = ax.time_stride = 0
        ax.time = ax.all_rows = ax.all_steps = 0
        ay.data = y
        ay.batch_stride = ay.time_stride = 0
        ay.time = ay.all_rows = ay.all_steps = 0
        # A step takes less time than giving up the GIL and taking it back.
        self.busy = True
        if self.long_step:
            with nogil:
                status = lstmc_run(self.session, &ax, &ay, self.batch, 1, NULL)
        else:
            status = lstmc_run(self.session, &ax, &ay, self.batch, 1, NULL)
        self.busy = False
        return status if status else 1

    def run(self, list inputs, list outputs, uint32_t batch, list times, lengths, bint keep):
        """Run batch rows through times[0] steps, in blocks that fit the session.

        inputs and outputs are dense arrays in the model's own axis order. times are the steps of
        each clock; a session whose model can't be cut must hold them all. lengths is int32 [batch]
        or None. keep: go on from the state and keep the new one (batch must fit the session);
        otherwise every row starts from zero.
        """
        cdef _Bound[MAX_ARRAYS] ins
        cdef _Bound[MAX_ARRAYS] outs
        cdef list held = []
        cdef uint32_t n_in = self.model.input_count, n_out = self.model.output_count
        cdef uint32_t i, time = times[0]
        cdef const int32_t *all_lengths = NULL
        cdef _Pointer p
        cdef int status
        if len(inputs) != <Py_ssize_t>n_in or len(outputs) != <Py_ssize_t>n_out:
            raise _errors.ShapeError("wrong number of inputs or outputs")
        if batch == 0 or time == 0 or (keep and batch > self.batch):
            raise _errors.ShapeError(_text(LSTMC_E_SHAPE))
        for i in range(n_in):
            _bind_array(self.model, &ins[i], i, inputs[i], held, batch, times)
        for i in range(n_out):
            _bind_array(self.model, &outs[i], n_in + i, outputs[i], held, batch, times)
        if lengths is not None:
            p = _Pointer(lengths)
            held.append(p)
            if p.view.len != 4 * <Py_ssize_t>batch:
                raise _errors.ShapeError("lengths must have one entry a row")
            all_lengths = <const int32_t *>p.view.buf
        self._enter()
        try:
            with nogil:
                status = self._blocks(ins, outs, batch, time, all_lengths, keep)
        finally:
            self.busy = False
        if status:
            _fail(status)

    cdef int _blocks(self, const _Bound *ins, const _Bound *outs, uint32_t batch, uint32_t time,
                     const int32_t *lengths, bint keep) except? -1 nogil:
        """run's work: the status of the core, or what Ctrl-C raises."""
        cdef lstmc_array[MAX_ARRAYS] in_now
        cdef lstmc_array[MAX_ARRAYS] out_now
        cdef uint32_t n_in = self.model.input_count, n_out = self.model.output_count
        cdef uint32_t block = self.time if self.model.cuttable else time
        cdef uint32_t i, b, rows, steps, b0 = 0, t0
        cdef int status = LSTMC_OK
        cdef double work = 0
        while b0 < batch and status == LSTMC_OK:
            rows = batch - b0 if batch - b0 < self.batch else self.batch
            if not keep:
                lstmc_reset(self.session)
            t0 = 0
            while t0 < time and status == LSTMC_OK:
                steps = time - t0 if time - t0 < block else block
                for i in range(n_in):
                    in_now[i] = _part(&ins[i], b0, t0)
                for i in range(n_out):
                    out_now[i] = _part(&outs[i], b0, t0)
                if lengths != NULL:
                    for b in range(rows):
                        self.lengths[b] = (
                            lengths[b0 + b] - <int32_t>t0 if lengths[b0 + b] > <int32_t>t0 else 0
                        )
                status = lstmc_run(self.session, in_now, out_now, rows, steps,
                                   self.lengths if lengths != NULL else NULL)
                t0 += steps
                work += <double>rows * steps * self.model.blob.view.len
                if work > 2e9:  # some tens of milliseconds: let Ctrl-C through
                    work = 0
                    with gil:
                        PyErr_CheckSignals()
            b0 += rows
        return status

    def states(self):
        """(layer, state, features) of each state."""
        return _states(self.session)

    def state_read(self, uint32_t index, array, uint32_t batch):
        """Copy a state into a float32 [batch, features] array."""
        self._state(index, array, batch, False)

    def state_write(self, uint32_t index, array, uint32_t batch):
        """Set a state from a float32 [batch, features] array."""
        self._state(index, array, batch, True)

    cdef int _state(self, uint32_t index, array, uint32_t batch, bint write) except -1:
        cdef lstmc_state_info info
        cdef _Pointer p = _Pointer(array, not write)
        cdef int status = lstmc_state_describe(self.session, index, &info)
        if status:
            _fail(status)
        if p.view.len != 4 * <Py_ssize_t>info.features * <Py_ssize_t>batch:
            raise _errors.ShapeError("the state has another size")
        self._enter()
        if write:
            status = lstmc_state_write(self.session, index, <const float *>p.view.buf, batch)
        else:
            status = lstmc_state_read(self.session, index, <float *>p.view.buf, batch)
        self.busy = False
        if status:
            _fail(status)
        return 0


cdef list _states(const lstmc_session *session):
    """(layer, state, features) of each state of a session."""
    cdef lstmc_state_info info
    cdef list out = []
    for i in range(lstmc_state_count(session)):
        lstmc_state_describe(session, i, &info)
        layer = info.layer.decode("utf-8", "surrogateescape")
        name = info.name.decode("utf-8", "surrogateescape")  # both from the file, any bytes
        out.append((layer, name, info.features))
    return out


include "_fast.pxi"
include "_step.pxi"
include "_predict.pxi"
include "_freeze.pxi"
include "_train.pxi"
include "_freeze_train.pxi"


cdef int _bind_array(Model model, _Bound *bound, uint32_t index, object given, list held,
                     uint32_t batch, list times) except -1:
    """Where a dense array's floats are, their strides, and whether its size is right."""
    cdef lstmc_io_info io
    cdef _Pointer p
    cdef bint out = index >= model.input_count
    cdef size_t size = 0
    cdef lstmc_array *array = &bound.array
    cdef size_t stride = 1
    cdef uint32_t d, code, steps
    lstmc_model_io(&model.model, index, &io)
    steps = times[io.clock] if io.clock < <uint32_t>len(times) else 0
    array.time = steps if index < model.input_count and io.has_time else 0
    if io.has_time:
        steps = lstmc_model_steps(&model.model, index, steps)
    array.data = _floats_of(<PyObject *>given, NPY_WRITEABLE if out else 0, &size)
    if array.data == NULL:
        p = _Pointer(given, out)
        held.append(p)
        array.data = p.view.buf
        size = <size_t>p.view.len
    bound.batch_stride = bound.time_stride = 0
    d = io.rank
    while d > 0:
        d -= 1
        code = io.dims[d]
        if code == 0xffffffffU:
            bound.batch_stride = stride
            stride *= batch
        elif code > 0xff000000U:
            bound.time_stride = stride
            stride *= steps
        else:
            stride *= code
    if size != 4 * stride:
        raise _errors.ShapeError(
            f"'{io.name.decode('utf-8', 'replace')}' has {size // 4} elements, expected {stride}"
        )
    array.all_rows = batch
    array.all_steps = steps
    array.batch_stride = array.time_stride = 0
    if not _scattered(&model.model, index):
        array.batch_stride = bound.batch_stride
        array.time_stride = bound.time_stride
    if model.cuttable:
        array.time = 0  # that of each block
    return 0


cdef inline lstmc_array _part(const _Bound *whole, uint32_t b0, uint32_t t0) noexcept nogil:
    cdef lstmc_array part = whole.array
    part.data = <void *>(<float *>part.data + b0 * whole.batch_stride + t0 * whole.time_stride)
    return part


cdef bint _scattered(const lstmc_model *model, uint32_t index) noexcept:
    """Sizes stand before batch or time, so that a row's floats don't lie together."""
    cdef lstmc_io_info io
    cdef uint32_t d
    cdef bint sizes = False
    lstmc_model_io(model, index, &io)
    for d in range(io.rank):
        if io.dims[d] > 0xff000000U:
            if sizes:
                return True
        elif io.dims[d] != 1:
            sizes = True
    return False
