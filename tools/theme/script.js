// The pages can be read without this: it copies code and shows where one is.
const {copy, copied} = document.currentScript.dataset;
for (const area of navigator.clipboard ? document.querySelectorAll(".input_area") : []) {
  const button = document.createElement("button");
  button.className = "copy";
  button.textContent = copy;
  button.onclick = async () => {
    await navigator.clipboard.writeText(area.querySelector("pre").textContent);
    button.textContent = copied;
    setTimeout(() => (button.textContent = copy), 2000);
  };
  area.append(button);
}

const contents = document.getElementById("contents");
const links = contents ? [...contents.querySelectorAll("a[href^='#']")] : [];
const headings = links.map(link => document.getElementById(link.getAttribute("href").slice(1)));
function showPlace() {
  const here = headings.findLastIndex(h => h.getBoundingClientRect().top < innerHeight / 3);
  links.forEach((link, i) => link.toggleAttribute("aria-current", i === here));
}
if (links.length) {
  addEventListener("scroll", showPlace, {passive: true});
  showPlace();
  contents.onclick = event => event.target.closest("a") && contents.hidePopover?.();
}
