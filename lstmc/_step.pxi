# Part of _core.pyx: the step of lstmc.Stream.

cdef int _fail_step(int status) except -1:
    if status == OVERLAP:
        raise _errors.ShapeError("out overlaps the input: later units would read it")
    return _fail(status)


@cython.auto_pickle(False)
cdef class Stream:
    """What lstmc.Stream derives from: the compiled step finds the session here."""

    cdef public Session _session


cdef object _slow_step
cdef PyMethodDef _step_method


def fast_step(cls):
    """Class decorator for lstmc.Stream: the usual calls of its step run compiled."""
    global _slow_step
    _slow_step = cls.step
    cls.step = _compiled(cls, _slow_step, &_step_method, b"step($self, x, out=None)", <void *>_step)
    return cls


cdef object _step(Stream self, PyObject **args, Py_ssize_t count, PyObject *names):
    """lstmc.Stream.step(x, out=None), args and names as METH_FASTCALL | METH_KEYWORDS gives them."""
    cdef Session session = self._session
    cdef Py_ssize_t all = count
    cdef PyObject *out = <PyObject *>None
    cdef bint usual
    if names == NULL:
        usual = count == 1 or count == 2
    else:
        all += PyTuple_Size(names)
        usual = count == 1 and all == 2 and PyTuple_GetItem(names, 0) == <PyObject *>"out"
    if usual and session is not None:
        if all == 2:
            out = args[1]
        if out != <PyObject *>None:
            if session.step(args[0], out):
                return <object>out
        elif session.fresh is not None:
            y = PyObject_Call(_empty, session.fresh, NULL)
            if session.step(args[0], <PyObject *>y):
                return y
    return _call(_slow_step, self, args, count, names)
