"""Low-pass filters of Daubechies' least asymmetric wavelets ("symlets"; Daubechies 1992, section 8.1.1).

The numbers solve the two conditions that define each filter: it is orthonormal to its own even shifts, and it
has as many vanishing moments as its name says. Each filter sums to sqrt(2).
"""

SYM2 = (-0.1294095225512604, 0.2241438680420134, 0.8365163037378079, 0.4829629131445342)

SYM6 = (
    0.0154041093270448,
    0.0034907120842221,
    -0.1179901111485197,
    -0.0483117425856975,
    0.4910559419279740,
    0.7876411410286506,
    0.3379294217281654,
    -0.0726375227863765,
    -0.0210602925123708,
    0.0447249017707814,
    0.0017677118642540,
    -0.0078007083250324,
)
