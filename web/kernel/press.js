// A click is a press and a release on the same element. What comes from the server
// must not replace the element in between.

let pressed; // a promise while a button or a finger is down
let release;

/** released waits until nothing is pressed. */
export const released = async () => { while (pressed) await pressed; };

addEventListener("pointerdown", () => { pressed ??= new Promise((done) => { release = done; }); }, true);
for (const end of ["pointerup", "pointercancel", "blur"]) {
  addEventListener(end, () => setTimeout(() => { // after the click
    pressed = undefined;
    release?.();
  }), true);
}
