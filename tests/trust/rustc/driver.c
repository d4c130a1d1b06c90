/* rustc's main function, in a program that brings no heap of its own. ENTRY is the exported name of
 * rustc_driver::main, which returns an exit code. */
unsigned char ENTRY(void);

int main(void) { return ENTRY(); }
