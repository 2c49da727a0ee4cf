# Part of _core.pyx: what a call reads of numpy's arrays without asking Python.

# Flags of an array, in numpy's ndarraytypes.h.
DEF NPY_C_CONTIGUOUS = 0x1
DEF NPY_ALIGNED = 0x100
DEF NPY_WRITEABLE = 0x400

# The front of an array object, as it is in memory: extensions of numpy's have always read it there
# (PyArrayObject_fields), so that it stays as it is. The buffer protocol would take as long as the
# step of a small net.
cdef struct _Array:
    PyObject head
    void *data
    int nd
    Py_ssize_t *dims
    Py_ssize_t *strides
    PyObject *base
    PyObject *descr
    int flags


cdef object _float32 = _dtype("f4")

cdef bint _has_known_arrays():
    """This numpy's arrays look like _Array; if not, steps take the buffer protocol."""
    a = _empty((2, 3), _float32)
    cdef _Pointer p = _Pointer(a)
    cdef const _Array *known = <const _Array *><PyObject *>a
    cdef int all = NPY_C_CONTIGUOUS | NPY_ALIGNED | NPY_WRITEABLE
    if type(a) is not _ndarray or known.data != p.view.buf or known.nd != 2:
        return False
    if known.dims[0] != 2 or known.dims[1] != 3 or known.descr != <PyObject *>_float32:
        return False
    if known.flags & all != all:
        return False
    a.flags.writeable = False
    turned = a.T
    cdef const _Array *other = <const _Array *><PyObject *>turned
    return known.flags & all == all - NPY_WRITEABLE and other.flags & all == NPY_ALIGNED


cdef void *_array_type = <void *>_ndarray if _has_known_arrays() else NULL
reads_arrays = _array_type != NULL


cdef inline const _Array *_plain(PyObject *x, int flag) noexcept:
    """x if it is an aligned C-contiguous float32 array that has the flag too; else NULL."""
    cdef const _Array *a = <const _Array *>x
    flag |= NPY_C_CONTIGUOUS | NPY_ALIGNED
    if Py_TYPE(x) != _array_type or a.flags & flag != flag or a.descr != <PyObject *>_float32:
        return NULL
    return a


cdef inline void *_rows_of(PyObject *x, Py_ssize_t batch, Py_ssize_t features, int flag) noexcept:
    """The floats of a plain [batch, features] array; NULL if x is anything else."""
    cdef const _Array *a = _plain(x, flag)
    if a == NULL or a.nd != 2 or a.dims[0] != batch or a.dims[1] != features:
        return NULL
    return a.data


cdef inline void *_floats_of(PyObject *x, int flag, size_t *size) noexcept:
    """The floats of a plain array and its size in bytes; NULL if x is anything else."""
    cdef const _Array *a = _plain(x, flag)
    cdef int i
    if a == NULL:
        return NULL
    size[0] = 4
    for i in range(a.nd):
        size[0] *= <size_t>a.dims[i]
    return a.data


cdef inline bint _is_rows(const Py_buffer *view, Py_ssize_t batch, Py_ssize_t features) noexcept:
    """A C-contiguous buffer is float32 [batch, features]."""
    return (
        view.ndim == 2 and view.shape[0] == batch and view.shape[1] == features
        and view.format != NULL and view.format[0] == c'f' and view.format[1] == 0
    )


cdef int _no_buffer() except -1:
    """0 if an object gave no buffer, as many do; what else it raised is raised."""
    if not PyErr_ExceptionMatches((BufferError, TypeError, ValueError)):
        return -1
    PyErr_Clear()
    return 0
