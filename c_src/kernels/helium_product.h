/* The product of a single row on Helium, in assembler: compilers spread each x over a vector, keep a
 * pointer for each gate and count beside them. Here a weight takes its load and its VFMA, which has x
 * in a core register; four x come with one LDM, and steps over the weights are part of a load.
 *
 * A load reaches 127 floats far, so the panel's width is part of the instructions. 16, 8 and 4 are the
 * panels that converters write and their halves; any other takes an addition for each weight. */

#define V_PRODUCT v_product_ /* by the number of gates */

/* One k: its gates from w on. The first load moves on to the next k, the others look back. */
#define HP_GATE(g) "vldrw.u32 %q[w" #g "], [%[w], %[back" #g "]]\n\t"
#define HP_FMA(g, X) "vfma.f32 %q[a" #g "], %q[w" #g "], " X "\n\t"
#define HP_NEXT "vldrw.u32 %q[w0], [%[w]], %[next]\n\t"
#define HP_K_3(X) HP_NEXT HP_GATE(1) HP_FMA(0, X) HP_GATE(2) HP_FMA(1, X) HP_FMA(2, X)
#define HP_K_4(X)                                                                                  \
    HP_NEXT HP_GATE(1) HP_FMA(0, X) HP_GATE(2) HP_FMA(1, X) HP_GATE(3) HP_FMA(2, X) HP_FMA(3, X)

/* Four k at a time, then those that are left. */
#define HP_FOUR "1:\tldm %[x]!, {r4, r5, r6, r8}\n\t"
#define HP_ONE "3:\tldr r4, [%[x]], #4\n\t"
#define HP_LOOPS(K)                                                                                \
    "wls lr, %[fours], 2f\n" HP_FOUR K("r4") K("r5") K("r6")                                       \
        K("r8") "le lr, 1b\n2:\t"                                                                  \
                "wls lr, %[ones], 4f\n" HP_ONE K("r4") "le lr, 3b\n4:"
#define HP_BACK(PANEL, G, g) [back##g] "i"(((g) - (G)) * (PANEL)*4)
#define HP_OPERANDS [fours] "r"(k / 4), [ones] "r"(k % 4)
#define HP_CLOBBERS "r4", "r5", "r6", "r8", "lr", "cc", "memory"

#define HP_PRODUCT_3(PANEL)                                                                        \
    __asm__(HP_LOOPS(HP_K_3)                                                                       \
            : [a0] "+w"(*a0), [a1] "+w"(*a1), [a2] "+w"(*a2), [w0] "=&w"(w0), [w1] "=&w"(w1),      \
              [w2] "=&w"(w2), [w] "+&r"(w), [x] "+&r"(x)                                           \
            : HP_OPERANDS, [next] "i"((PANEL)*12), HP_BACK(PANEL, 3, 1), HP_BACK(PANEL, 3, 2)      \
            : HP_CLOBBERS)
#define HP_PRODUCT_4(PANEL)                                                                        \
    __asm__(HP_LOOPS(HP_K_4)                                                                       \
            : [a0] "+w"(*a0), [a1] "+w"(*a1), [a2] "+w"(*a2), [a3] "+w"(*a3), [w0] "=&w"(w0),      \
              [w1] "=&w"(w1), [w2] "=&w"(w2), [w3] "=&w"(w3), [w] "+&r"(w), [x] "+&r"(x)           \
            : HP_OPERANDS, [next] "i"((PANEL)*16), HP_BACK(PANEL, 4, 1), HP_BACK(PANEL, 4, 2),     \
              HP_BACK(PANEL, 4, 3)                                                                 \
            : HP_CLOBBERS)

/* Any panel: the gates of a k, and the next k, follow each other a panel's width apart. */
#define HP_STRIDE(g)                                                                               \
    "vldrw.u32 %q[w0], [%[w]]\n\tadd %[w], %[pitch]\n\tvfma.f32 %q[a" #g "], %q[w0], r4\n\t"
#define HP_STRIDES_3 HP_STRIDE(0) HP_STRIDE(1) HP_STRIDE(2)
#define HP_STRIDES_4 HP_STRIDES_3 HP_STRIDE(3)
#define HP_ANY(G, ...)                                                                             \
    __asm__("wls lr, %[k], 2f\n1:\tldr r4, [%[x]], #4\n\t" HP_STRIDES_##G "le lr, 1b\n2:"          \
            : __VA_ARGS__, [w0] "=&w"(w0), [w] "+&r"(w), [x] "+&r"(x)                              \
            : [k] "r"(k), [pitch] "r"(panel * sizeof *w)                                           \
            : "r4", "lr", "cc", "memory")
#define HP_ANY_3 HP_ANY(3, [a0] "+w"(*a0), [a1] "+w"(*a1), [a2] "+w"(*a2))
#define HP_ANY_4 HP_ANY(4, [a0] "+w"(*a0), [a1] "+w"(*a1), [a2] "+w"(*a2), [a3] "+w"(*a3))

#define HP_PANELS(G)                                                                               \
    if (panel == 16) {                                                                             \
        HP_PRODUCT_##G(16);                                                                        \
    } else if (panel == 8) {                                                                       \
        HP_PRODUCT_##G(8);                                                                         \
    } else if (panel == 4) {                                                                       \
        HP_PRODUCT_##G(4);                                                                         \
    } else {                                                                                       \
        HP_ANY_##G;                                                                                \
    }

VH_OP void v_product_3(const float *w, size_t panel, const float *x, uint32_t k, v_f32 *a0,
                       v_f32 *a1, v_f32 *a2) {
    v_f32 w0, w1, w2;
    HP_PANELS(3)
}

VH_OP void v_product_4(const float *w, size_t panel, const float *x, uint32_t k, v_f32 *a0,
                       v_f32 *a1, v_f32 *a2, v_f32 *a3) {
    v_f32 w0, w1, w2, w3;
    HP_PANELS(4)
}

#undef HP_GATE
#undef HP_FMA
#undef HP_NEXT
#undef HP_K_3
#undef HP_K_4
#undef HP_FOUR
#undef HP_ONE
#undef HP_LOOPS
#undef HP_BACK
#undef HP_OPERANDS
#undef HP_CLOBBERS
#undef HP_PRODUCT_3
#undef HP_PRODUCT_4
#undef HP_STRIDE
#undef HP_STRIDES_3
#undef HP_STRIDES_4
#undef HP_ANY
#undef HP_ANY_3
#undef HP_ANY_4
#undef HP_PANELS
