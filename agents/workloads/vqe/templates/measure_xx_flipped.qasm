// cos(theta/2)|11> + sin(theta/2)|00>, read along x and -x: the parity of the two bits is -XX.
OPENQASM 3.0;
include "stdgates.inc";
input angle theta;
qubit[2] q;
bit[2] c;
x q;
rz(-pi/2) q[1];
rxx(theta) q[0], q[1];
rz(pi/2) q[1];
ry(-pi/2) q[0];
ry(pi/2) q[1];
c = measure q;
