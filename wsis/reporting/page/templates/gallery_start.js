// Starts the gallery; of a page that `wsis view` serves, follows the run while it goes on.

const EVERY = 3000; // milliseconds between two questions

offer();
arrange();
followAddress();
if (live) follow(version, -1);

// Asks what the server has; takes new numbers and new measures as they come, and leaves alone what a person does.
async function follow(known, measured) {
  let state = null;
  try {
    state = await fetched("state.json");
    section.classList.remove("lost");
  } catch {
    section.classList.add("lost"); // the server has ended, or sleeps; it is asked again
  }
  try {
    if (state && state.version !== known) await renew();
    if (state && (state.version !== known || state.measured !== measured)) await relist(state);
    if (state) [known, measured] = [state.version, state.measured];
  } catch {
    // the run moved on between two answers: the next round takes what is there then
  }
  setTimeout(() => follow(known, measured), EVERY);
}

// The numbers of the page as they are now, in place of those that are shown.
async function renew() {
  const answer = await fetch(location.pathname);
  if (!answer.ok) throw new Error(`${answer.status}`);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const opened = [...document.querySelectorAll("#numbers details")].map((one) => one.open);
  document.getElementById("numbers").replaceWith(page.getElementById("numbers"));
  document.querySelectorAll("#numbers details").forEach((one, i) => (one.open = Boolean(opened[i])));
}

async function relist(state) {
  const before = version;
  index = await fetched("gallery.json");
  version = state.version;
  if (before !== version) {
    chunks.clear();
    tiles.forEach((tile) => sight.unobserve(tile));
    tiles.clear();
  }
  offer();
  arrange();
  if (before !== version && open && open.place < index.images.length) show(open.place);
}
