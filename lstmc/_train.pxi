# Part of _core.pyx: training, lstmc_train.h.

cdef extern from "lstmc_train.h" nogil:
    ctypedef struct lstmc_trainer:
        pass
    ctypedef struct lstmc_loss:
        int kind
        float delta
        float smoothing
        uint32_t from_logits
    ctypedef struct lstmc_optimizer:
        int kind
        float learning_rate
        float momentum
        uint32_t nesterov
        float rho
        float beta_1
        float beta_2
        float epsilon
        float weight_decay
        uint32_t centered
        uint32_t amsgrad
        float clip_value
        float clip_norm
        float global_clip_norm
    ctypedef struct lstmc_dropout:
        uint32_t layer
        int kind
        float rate
    ctypedef struct lstmc_train_config:
        uint32_t batch
        uint32_t time
        lstmc_target target
        const lstmc_parallel *parallel
        const unsigned char *frozen
        uint32_t input_gradients
        uint32_t slots
        uint32_t carry
        uint32_t recompute
        uint32_t frugal
        const lstmc_dropout *dropouts
        uint32_t dropout_count
    ctypedef struct lstmc_train_port:
        float *data
        float *gradient
        size_t batch_stride
        size_t time_stride
        size_t gradient_batch_stride
        size_t gradient_time_stride
        uint32_t features
        uint32_t steps
    ctypedef struct lstmc_train_tensor:
        float *weight
        float *gradient
        float *slots[3]
        size_t size
        uint32_t gates
        uint32_t k
        uint32_t units
        uint32_t panel
    ctypedef struct lstmc_optimizer_state:
        uint32_t steps
        float beta_1_power
        float beta_2_power
    uint32_t lstmc_optimizer_slots(const lstmc_optimizer *optimizer)
    int lstmc_train_arena_size(size_t *size, const lstmc_model *model,
                               const lstmc_train_config *config)
    int lstmc_trainer_init(lstmc_trainer **trainer, const lstmc_model *model,
                           const lstmc_train_config *config, void *arena, size_t size)
    int lstmc_train_forward(lstmc_trainer *trainer, const lstmc_array *inputs, uint32_t batch,
                            uint32_t time, const int32_t *lengths)
    int lstmc_train_output(const lstmc_trainer *trainer, uint32_t index, lstmc_train_port *port)
    int lstmc_train_input(const lstmc_trainer *trainer, uint32_t index, lstmc_train_port *port)
    int lstmc_train_loss(lstmc_trainer *trainer, uint32_t index, const lstmc_loss *loss,
                         const float *truth, const float *weights, uint32_t weight_steps,
                         float scale, float *values)
    int lstmc_train_backward(lstmc_trainer *trainer)
    int lstmc_train_update(lstmc_trainer *trainer, const lstmc_optimizer *optimizer)
    void lstmc_train_clear(lstmc_trainer *trainer)
    void lstmc_train_reset(lstmc_trainer *trainer)
    void lstmc_train_dropout(lstmc_trainer *trainer, uint32_t seed, uint32_t step,
                             uint32_t first_row)
    int lstmc_trainer_tensor(const lstmc_trainer *trainer, uint32_t index,
                             lstmc_train_tensor *tensor)
    void lstmc_train_refresh(lstmc_trainer *trainer)
    lstmc_optimizer_state *lstmc_trainer_optimizer(lstmc_trainer *trainer)
    lstmc_session *lstmc_trainer_session(lstmc_trainer *trainer)


ctypedef float *_Floats


cdef lstmc_optimizer _optimizer(tuple values):
    """From (kind, learning_rate, momentum, nesterov, rho, beta_1, beta_2, epsilon, weight_decay,
    centered, amsgrad, clip_value, clip_norm, global_clip_norm)."""
    cdef lstmc_optimizer o
    (
        o.kind, o.learning_rate, o.momentum, o.nesterov, o.rho, o.beta_1, o.beta_2, o.epsilon,
        o.weight_decay, o.centered, o.amsgrad, o.clip_value, o.clip_norm, o.global_clip_norm,
    ) = values
    return o


cdef int _untrainable(Model model, bint dropout) except -1:
    """Why lstmc_train_arena_size has said LSTMC_E_UNSUPPORTED: every layer of this build has training,
    or no derivative at all."""
    if dropout and model.model.value_count <= 8192:
        raise _errors.ConversionError("no dropout in a model whose state comes from outside")
    raise _errors.ConversionError(
        f"a model of {model.model.value_count} values is too large to be trained"
    )


def optimizer_slots(tuple values):
    """Floats that an optimizer keeps for each weight."""
    cdef lstmc_optimizer o = _optimizer(values)
    return lstmc_optimizer_slots(&o)


cdef class Trainer:
    """A trainer with its arena. Arrays inside are [batch][steps][features] without gaps.

    frozen: bytes, one for each layer, or None. dropouts: (layer, kind, rate) of each.
    """

    cdef lstmc_trainer *trainer
    cdef lstmc_parallel parallel
    cdef void *memory
    cdef lstmc_dropout *dropouts
    cdef object frozen
    cdef bint busy
    cdef uint32_t rows  # of the last forward
    cdef readonly Model model
    cdef readonly uint32_t batch
    cdef readonly uint32_t time
    cdef readonly size_t arena_bytes

    def __cinit__(
        self, Model model not None, uint32_t batch, uint32_t time, int target, uint32_t threads=1,
        bytes frozen=None, uint32_t slots=0, bint input_gradients=False, bint carry=False,
        bint recompute=False, bint frugal=False, tuple dropouts=(),
    ):
        cdef lstmc_train_config config
        cdef size_t size = 0
        cdef int status
        self.model = model
        self.batch = batch
        self.time = time
        if frozen is not None and <uint32_t>len(frozen) != model.model.layer_count:
            raise _errors.ShapeError("frozen must say something about each layer")
        self.frozen = frozen
        self.parallel.run = lstmc_pool_run
        self.parallel.pool = NULL
        self.parallel.threads = threads
        self.parallel.grain = _grain
        config.batch = batch
        config.time = time
        config.target = target
        config.parallel = &self.parallel if threads > 1 and LSTMC_POOL_WORKS else NULL
        config.frozen = NULL if frozen is None else <const unsigned char *>frozen
        config.input_gradients = input_gradients
        config.slots = slots
        config.carry = carry
        config.recompute = recompute
        config.frugal = frugal
        self.dropouts = <lstmc_dropout *>calloc(len(dropouts) + 1, sizeof(lstmc_dropout))
        if self.dropouts == NULL:
            raise _errors.OutOfMemoryError("no memory for a trainer")
        for i, (layer, kind, rate) in enumerate(dropouts):
            self.dropouts[i].layer = layer
            self.dropouts[i].kind = kind
            self.dropouts[i].rate = rate
        config.dropouts = self.dropouts
        config.dropout_count = <uint32_t>len(dropouts)
        status = lstmc_train_arena_size(&size, &model.model, &config)
        if status == LSTMC_E_UNSUPPORTED:
            _untrainable(model, len(dropouts) > 0)
        if status == LSTMC_E_ARGUMENT:
            raise _errors.OutOfMemoryError(
                f"a trainer for {batch} rows of {time} steps is beyond any memory"
            )
        if status:
            _fail(status)
        self.memory = malloc(size + 64)
        if self.memory == NULL:
            raise _errors.OutOfMemoryError(f"{size} bytes for a trainer could not be allocated")
        self.arena_bytes = size
        status = lstmc_trainer_init(
            &self.trainer, &model.model, &config,
            <char *>self.memory + (64 - <uintptr_t>self.memory % 64), size,
        )
        if status:
            _fail(status)

    def __dealloc__(self):
        free(self.memory)
        free(self.dropouts)

    cdef int _enter(self) except -1:
        if self.busy:
            raise _errors.Error("this model is being trained by another thread")
        self.busy = True
        return 0

    cdef int _idle(self) except -1:
        """What is not to be touched while another thread trains."""
        self._enter()
        self.busy = False
        return 0

    cdef uint32_t _turn(self, uint32_t left) noexcept nogil:
        """How many of the rows that are left are next: turns of about the same size, so that no
        thread is idle in the last one, in whole tiles for each thread."""
        cdef uint32_t turns = (left - 1) // self.batch + 1
        cdef uint32_t tile = 6 * (self.parallel.threads if self.parallel.threads < 64 else 64)
        cdef uint32_t rows = ((left - 1) // turns // tile + 1) * tile
        if rows > self.batch:
            rows = self.batch
        return rows if rows < left else left

    def run(
        self, list inputs, uint32_t batch, list times, lengths, *, list outputs=None,
        list losses=None, list truths=None, list weights=None, list scales=None, list values=None,
        list gradients=None, list input_gradients=None, bint backward=True, uint32_t seed=0,
        uint32_t step=0xffffffff,
    ):
        """Forward, loss and backward of batch rows, as many at a time as the trainer takes.

        inputs: dense float32 arrays in the model's own axis order. Of each output: outputs gets what
        it gives; losses has (kind, delta, smoothing, from_logits) or None, truths, weights
        [batch] or [batch * steps] or None, scales and values (gets [batch * steps]) go with it;
        gradients has a gradient from outside, or None. input_gradients gets those of the inputs.
        seed and step: of dropout, none with the last step.
        """
        cdef _Bound[MAX_ARRAYS] ins
        cdef lstmc_array[MAX_ARRAYS] in_now
        cdef _Floats[MAX_ARRAYS] out_at
        cdef _Floats[MAX_ARRAYS] truth_at
        cdef _Floats[MAX_ARRAYS] weight_at
        cdef _Floats[MAX_ARRAYS] value_at
        cdef _Floats[MAX_ARRAYS] gradient_at
        cdef _Floats[MAX_ARRAYS] input_at
        cdef lstmc_loss[MAX_ARRAYS] loss_of
        cdef float[MAX_ARRAYS] scale_of
        cdef uint32_t[MAX_ARRAYS] by_step
        cdef const int32_t *all_lengths = NULL
        cdef uint32_t n_in = self.model.input_count, n_out = self.model.output_count
        cdef uint32_t i, rows, b0 = 0, steps
        cdef list held = []
        cdef lstmc_io_info io
        cdef lstmc_train_port port
        cdef _Pointer p
        cdef size_t vectors, features
        cdef int status = LSTMC_OK
        if len(inputs) != <Py_ssize_t>n_in:
            raise _errors.ShapeError("wrong number of inputs")
        for given in (outputs, losses, truths, weights, scales, values, gradients):
            if given is not None and len(given) != <Py_ssize_t>n_out:
                raise _errors.ShapeError("wrong number of outputs")
        if input_gradients is not None and len(input_gradients) != <Py_ssize_t>n_in:
            raise _errors.ShapeError("wrong number of inputs")
        if batch == 0 or times[0] == 0 or <uint32_t>max(times) > self.time:
            raise _errors.ShapeError(_text(LSTMC_E_SHAPE))
        for i in range(n_in):
            _bind_array(self.model, &ins[i], i, inputs[i], held, batch, times)
            lstmc_model_io(&self.model.model, i, &io)
            steps = times[io.clock] if io.clock < <uint32_t>len(times) else 0
            ins[i].array.time = steps if io.has_time else 0
            steps = lstmc_model_steps(&self.model.model, i, steps) if io.has_time else 1
            input_at[i] = NULL
            if input_gradients is not None and input_gradients[i] is not None:
                input_at[i] = _floats_at(
                    input_gradients[i], <size_t>batch * steps * io.features, held, True
                )
        for i in range(n_out):
            lstmc_model_io(&self.model.model, n_in + i, &io)
            steps = times[io.clock] if io.clock < <uint32_t>len(times) else 0
            steps = lstmc_model_steps(&self.model.model, n_in + i, steps) if io.has_time else 1
            vectors = <size_t>batch * steps
            features = io.features
            out_at[i] = truth_at[i] = weight_at[i] = value_at[i] = gradient_at[i] = NULL
            loss_of[i].kind = -1
            scale_of[i] = 1.0
            by_step[i] = 0
            if outputs is not None and outputs[i] is not None:
                out_at[i] = _floats_at(outputs[i], vectors * features, held, True)
            if gradients is not None and gradients[i] is not None:
                gradient_at[i] = _floats_at(gradients[i], vectors * features, held, False)
            if losses is None or losses[i] is None:
                continue
            loss_of[i].kind, loss_of[i].delta, loss_of[i].smoothing, loss_of[i].from_logits = losses[i]
            if loss_of[i].kind < 0:
                raise _errors.RangeError("there is no such loss")
            truth_at[i] = _floats_at(
                truths[i], vectors if loss_of[i].kind == 5 else vectors * features, held, False
            )
            if scales is not None:
                scale_of[i] = scales[i]
            if values is not None and values[i] is not None:
                value_at[i] = _floats_at(values[i], vectors, held, True)
            if weights is not None and weights[i] is not None:
                by_step[i] = steps > 1 and len(weights[i]) != <Py_ssize_t>batch
                weight_at[i] = _floats_at(
                    weights[i], vectors if by_step[i] else <size_t>batch, held, False
                )
        if lengths is not None:
            p = _Pointer(lengths)
            held.append(p)
            if p.view.len != 4 * <Py_ssize_t>batch:
                raise _errors.ShapeError("lengths must have one entry a row")
            all_lengths = <const int32_t *>p.view.buf
        steps = times[0]
        self._enter()
        try:
            with nogil:
                while b0 < batch and status == LSTMC_OK:
                    rows = self._turn(batch - b0)
                    for i in range(n_in):
                        in_now[i] = _part(&ins[i], b0, 0)
                    self.rows = rows
                    lstmc_train_dropout(self.trainer, seed, step, b0)
                    status = lstmc_train_forward(
                        self.trainer, in_now, rows, steps,
                        all_lengths + b0 if all_lengths != NULL else NULL,
                    )
                    i = 0
                    while i < n_out and status == LSTMC_OK:
                        lstmc_train_output(self.trainer, i, &port)
                        if out_at[i] != NULL:
                            out_at[i] = _copy_rows(out_at[i], port.data, port.batch_stride,
                                                   port.time_stride, rows, &port, False)
                        if gradient_at[i] != NULL:
                            gradient_at[i] = _copy_rows(
                                gradient_at[i], port.gradient, port.gradient_batch_stride,
                                port.gradient_time_stride, rows, &port, True,
                            )
                        if truth_at[i] != NULL:
                            status = lstmc_train_loss(
                                self.trainer, i, &loss_of[i], truth_at[i], weight_at[i],
                                by_step[i], scale_of[i], value_at[i],
                            )
                            vectors = <size_t>rows * port.steps
                            truth_at[i] += vectors * (1 if loss_of[i].kind == 5 else port.features)
                            if weight_at[i] != NULL:
                                weight_at[i] += vectors if by_step[i] else rows
                            if value_at[i] != NULL:
                                value_at[i] += vectors
                        i += 1
                    if backward and status == LSTMC_OK:
                        status = lstmc_train_backward(self.trainer)
                        for i in range(n_in):
                            if input_at[i] == NULL or status:
                                continue
                            lstmc_train_input(self.trainer, i, &port)
                            input_at[i] = _copy_rows(
                                input_at[i], port.gradient, port.gradient_batch_stride,
                                port.gradient_time_stride, rows, &port, False,
                            )
                    b0 += rows
                    if b0 < batch:
                        with gil:
                            PyErr_CheckSignals()
        finally:
            self.busy = False
        if status:
            _fail(status)

    def back(self, list gradients, list input_gradients):
        """Backward of the last run, which was without, and took all its rows at once.

        gradients of the outputs, or None for zeros; input_gradients gets those of the inputs. The
        inputs and lengths of that run must be as they were.
        """
        cdef lstmc_train_port port
        cdef list held = []
        cdef uint32_t i, n_in = self.model.input_count, n_out = self.model.output_count
        cdef int status
        self._idle()
        if len(gradients) != <Py_ssize_t>n_out or len(input_gradients) != <Py_ssize_t>n_in:
            raise _errors.ShapeError("wrong number of inputs or outputs")
        for i in range(n_out):
            if gradients[i] is None:
                continue
            lstmc_train_output(self.trainer, i, &port)
            _copy_rows(
                _floats_at(
                    gradients[i], <size_t>self.rows * port.steps * port.features, held, False
                ),
                port.gradient, port.gradient_batch_stride, port.gradient_time_stride, self.rows,
                &port, True,
            )
        self._enter()
        with nogil:
            status = lstmc_train_backward(self.trainer)
        self.busy = False
        if status:
            _fail(status)
        for i in range(n_in):
            if input_gradients[i] is None:
                continue
            lstmc_train_input(self.trainer, i, &port)
            _copy_rows(
                _floats_at(
                    input_gradients[i], <size_t>self.rows * port.steps * port.features, held, True
                ),
                port.gradient, port.gradient_batch_stride, port.gradient_time_stride, self.rows,
                &port, False,
            )

    def update(self, tuple optimizer):
        """A step of the optimizer with the gradients so far."""
        cdef lstmc_optimizer o = _optimizer(optimizer)
        cdef int status
        self._enter()
        with nogil:
            status = lstmc_train_update(self.trainer, &o)
        self.busy = False
        if status:
            _fail(status)

    def clear(self):
        """All gradients to zero."""
        self._idle()
        lstmc_train_clear(self.trainer)

    def reset(self):
        """States to where the model starts."""
        self._idle()
        lstmc_train_reset(self.trainer)

    def trained(self, uint32_t index):
        """(gates, k, units, panel, size) of a tensor that is trained; None of another."""
        cdef lstmc_train_tensor t
        cdef int status = lstmc_trainer_tensor(self.trainer, index, &t)
        if status:
            _fail(status)
        return (t.gates, t.k, t.units, t.panel, t.size) if t.weight != NULL else None

    def read(self, uint32_t index, int what, array):
        """Copy a tensor (0), its gradient (1) or its slot (2, 3, 4) out, in panels."""
        self._tensor(index, what, array, False)

    def write(self, uint32_t index, int what, array):
        """The same, in."""
        self._tensor(index, what, array, True)

    cdef int _tensor(self, uint32_t index, int what, array, bint write) except -1:
        cdef lstmc_train_tensor t
        cdef _Pointer p = _Pointer(array, not write)
        cdef int status = lstmc_trainer_tensor(self.trainer, index, &t)
        cdef float *at = NULL
        self._idle()
        if status:
            _fail(status)
        if what == 0:
            at = t.weight
        elif what == 1:
            at = t.gradient
        elif what < 5:
            at = t.slots[what - 2]
        if at == NULL or p.view.len != 4 * <Py_ssize_t>t.size:
            raise _errors.ShapeError("there is no such tensor of this size")
        if write:
            _memcpy(at, p.view.buf, <size_t>p.view.len)
            lstmc_train_refresh(self.trainer)
        else:
            _memcpy(p.view.buf, at, <size_t>p.view.len)
        return 0

    def states(self):
        """(layer, state, features) of each state that carry takes on."""
        return _states(lstmc_trainer_session(self.trainer))

    def state(self, uint32_t index, array, bint write):
        """Copy a state of all rows out to, or in from, a float32 [batch, features] array."""
        cdef lstmc_session *session = lstmc_trainer_session(self.trainer)
        cdef lstmc_state_info info
        cdef _Pointer p = _Pointer(array, not write)
        cdef int status = lstmc_state_describe(session, index, &info)
        self._idle()
        if status:
            _fail(status)
        if p.view.len != 4 * <Py_ssize_t>info.features * <Py_ssize_t>self.batch:
            raise _errors.ShapeError("the state has another size")
        if write:
            status = lstmc_state_write(session, index, <const float *>p.view.buf, self.batch)
        else:
            status = lstmc_state_read(session, index, <float *>p.view.buf, self.batch)
        if status:
            _fail(status)

    @property
    def optimizer(self):
        """(steps, beta_1 ** steps, beta_2 ** steps)."""
        cdef lstmc_optimizer_state *s = lstmc_trainer_optimizer(self.trainer)
        return s.steps, s.beta_1_power, s.beta_2_power

    @optimizer.setter
    def optimizer(self, tuple values):
        cdef lstmc_optimizer_state *s = lstmc_trainer_optimizer(self.trainer)
        s.steps, s.beta_1_power, s.beta_2_power = values


cdef float *_floats_at(object array, size_t count, list held, bint writable) except NULL:
    """The floats of a dense array of so many."""
    cdef _Pointer p = _Pointer(array, writable)
    held.append(p)
    if <size_t>p.view.len != 4 * count:
        raise _errors.ShapeError(f"an array has {p.view.len // 4} elements, expected {count}")
    return <float *>p.view.buf


cdef float *_copy_rows(float *dense, float *data, size_t batch_stride, size_t time_stride,
                       uint32_t rows, const lstmc_train_port *port, bint into) noexcept nogil:
    """Copy [rows][steps][features] without gaps from (into: to) a view; what follows in dense."""
    cdef uint32_t b, t
    cdef float *at
    for b in range(rows):
        for t in range(port.steps):
            at = data + b * batch_stride + t * time_stride
            if data == NULL:
                pass
            elif into:
                _memcpy(at, dense, 4 * <size_t>port.features)
            else:
                _memcpy(dense, at, 4 * <size_t>port.features)
            dense += port.features
    return dense
