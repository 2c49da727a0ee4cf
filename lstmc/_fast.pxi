# Part of _core.pyx: methods of Python's classes whose usual calls run compiled.
#
# A method of Cython's would cost more than the step of a small net: within the limited API of 3.11,
# it takes its arguments as a tuple.

cdef list _texts = []  # the methods' own, which they borrow


cdef object _compiled(type cls, object slow, PyMethodDef *method, bytes signature, void *function):
    """A method like slow, a Python function, made of one of METH_FASTCALL | METH_KEYWORDS."""
    cdef bytes name = slow.__name__.encode()
    cdef bytes doc = signature + b"\n--\n\n" + (slow.__doc__ or "").encode()
    _texts.extend((name, doc))
    method.ml_name = name
    method.ml_meth = function
    method.ml_flags = METH_FASTCALL | METH_KEYWORDS
    method.ml_doc = doc
    return PyDescr_NewMethod(cls, method)


cdef object _call(object slow, object self, PyObject **args, Py_ssize_t count, PyObject *names):
    """slow(self, ...), with arguments as METH_FASTCALL | METH_KEYWORDS gives them."""
    cdef Py_ssize_t i, named = 0 if names == NULL else PyTuple_Size(names)
    return slow(
        self,
        *[<object>args[i] for i in range(count)],
        **{<object>PyTuple_GetItem(names, i): <object>args[count + i] for i in range(named)},
    )
