# Part of _core.pyx: the predict of lstmc.Model.

DEF SLOTS = 32     # shapes that a model knows: more than its sessions have sizes
DEF MAX_RANK = 8   # of an input


@cython.final
cdef class Sessions:
    """Sessions of one size: those that no thread uses now.

    take and give run no Python code in between, so that two threads never get the same session.
    """

    cdef Model model
    cdef readonly uint32_t batch
    cdef readonly uint32_t time
    cdef readonly int target
    cdef readonly uint32_t threads
    cdef Session first

    def __cinit__(
        self, Model model not None, uint32_t batch, uint32_t time, int target, uint32_t threads
    ):
        self.model = model
        self.batch = batch
        self.time = time
        self.target = target
        self.threads = threads

    def take(self):
        """A session for this thread, made if need be."""
        session = self.pop()
        if session is None:
            session = Session(self.model, self.batch, self.time, self.target, self.threads)
        return session

    def give(self, Session session not None):
        """Keep a session of take's for the next call."""
        self.check(session)
        self.push(session)

    cdef int check(self, Session session) except -1:
        if (
            session.model is not self.model or session.next is not None
            or session.batch != self.batch or session.time != self.time
        ):
            raise _errors.Error("the session is none of these")
        return 0

    cdef Session pop(self):
        cdef Session session
        with cython.critical_section(self):
            session = self.first
            if session is not None:
                self.first = session.next
                session.next = None
        return session

    cdef int push(self, Session session) except -1:
        with cython.critical_section(self):
            session.next = self.first
            self.first = session
        return 0


@cython.final
cdef class _Known:
    """A shape that predict has seen, and all that it comes to."""

    cdef int nd
    cdef Py_ssize_t[MAX_RANK] dims
    cdef Sessions sessions
    cdef tuple fresh    # what numpy.empty makes the output of
    cdef _Bound x       # without data
    cdef _Bound y
    cdef uint32_t batch
    cdef uint32_t time
    cdef bint long_call  # worth giving up the GIL


cdef inline Py_ssize_t _slot(const _Array *x) noexcept:
    cdef size_t mixed = 0
    cdef int i
    for i in range(x.nd):
        mixed = 31 * mixed + <size_t>x.dims[i]
    return <Py_ssize_t>(mixed % SLOTS)


@cython.auto_pickle(False)
cdef class Predictor:
    """What lstmc.Model derives from: the compiled predict finds the shapes it knows here."""

    cdef list _known  # of _Known or None, by _slot; None until there is one

    def _forget(self):
        """Give up what is known, with its sessions."""
        self._known = None

    def _remember(self, Sessions sessions not None, Session session not None, x, y, uint32_t batch,
                  list times):
        """x has given y in a session of those: let the next array of its shape go the short way.

        For a model with one input and one output that takes any values.
        """
        cdef const _Array *a = _plain(<PyObject *>x, 0)
        cdef _Known known = _Known()
        cdef lstmc_io_info io
        cdef list held = []
        cdef double floats = 0
        cdef int i
        if a == NULL or a.nd > MAX_RANK or _plain(<PyObject *>y, 0) == NULL:
            return
        if session.model.input_count != 1 or session.model.output_count != 1:
            raise _errors.ShapeError("wrong number of inputs or outputs")
        sessions.check(session)
        known.nd = a.nd
        for i in range(a.nd):
            known.dims[i] = a.dims[i]
        known.sessions = sessions
        known.fresh = y.shape, _float32
        known.batch = batch
        known.time = times[0]
        _bind_array(session.model, &known.x, 0, x, held, batch, times)
        _bind_array(session.model, &known.y, 1, y, held, batch, times)
        if batch <= session.batch and known.time <= session.time:  # a single call: all is dense
            _whole(&known.x.array)
            _whole(&known.y.array)
        for i in range(2):
            lstmc_model_io(&session.model.model, i, &io)
            floats += io.features
        # As Session.long_step, for all steps.
        known.long_call = (
            <double>batch * known.time * (session.model.blob.view.len + 16 * floats) > 6e5
        )
        cdef list all = self._known
        if all is None:
            all = self._known = [None] * SLOTS
        all[_slot(a)] = known

    cdef object _quick(self, PyObject *x):
        """predict of a plain array of a known shape; None, and nothing has happened, for others."""
        cdef const _Array *a = _plain(x, 0)
        cdef _Known known
        cdef Session session
        cdef _Bound ax
        cdef _Bound ay
        cdef list all = self._known
        cdef PyObject *found
        cdef int i, status
        if a == NULL or all is None:
            return None
        found = PyList_GetItem(<PyObject *>all, _slot(a))
        if found == <PyObject *>None:
            return None
        known = <_Known>found
        if known.sessions.target != _target or known.sessions.threads != _threads:
            return None
        if known.nd != a.nd:
            return None
        for i in range(known.nd):
            if known.dims[i] != a.dims[i]:
                return None
        y = PyObject_Call(_empty, known.fresh, NULL)
        session = known.sessions.pop()
        if session is None:
            return None
        ax = known.x
        ay = known.y
        ax.array.data = a.data
        ay.array.data = (<const _Array *><PyObject *>y).data
        if known.long_call:
            with nogil:
                status = session._blocks(&ax, &ay, known.batch, known.time, NULL, False)
        else:
            status = session._blocks(&ax, &ay, known.batch, known.time, NULL, False)
        if status:
            _fail(status)
        known.sessions.push(session)
        return y


cdef object _slow_predict
cdef PyMethodDef _predict_method


def fast_predict(cls):
    """Class decorator for lstmc.Model: the usual calls of its predict run compiled."""
    global _slow_predict
    _slow_predict = cls.predict
    cls.predict = _compiled(
        cls, _slow_predict, &_predict_method, b"predict($self, x, lengths=None)", <void *>_predict
    )
    return cls


cdef object _predict(Predictor self, PyObject **args, Py_ssize_t count, PyObject *names):
    """lstmc.Model.predict(x, lengths=None), args and names as METH_FASTCALL | METH_KEYWORDS gives."""
    cdef bint usual = count == 1 or (count == 2 and args[1] == <PyObject *>None)
    if names != NULL:
        usual = count == 1 and PyTuple_Size(names) == 1 and args[1] == <PyObject *>None
        usual = usual and PyTuple_GetItem(names, 0) == <PyObject *>"lengths"
    if usual:
        y = self._quick(args[0])
        if y is not None:
            return y
    return _call(_slow_predict, self, args, count, names)


cdef inline void _whole(lstmc_array *array) noexcept:
    """Strides and sizes are those of the call: the core has less to look at."""
    array.batch_stride = array.time_stride = 0
    array.all_rows = array.all_steps = 0
