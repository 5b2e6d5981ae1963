// Shows that an answer can go on for as long as it likes: each tick came through the tunnel.
const shown = document.getElementById("live");
const events = new EventSource("/events");

events.addEventListener("tick", (event) => {
  shown.textContent = `${event.data} s, one tick each second through the tunnel`;
});
events.addEventListener("error", () => {
  shown.textContent = "no, trying again";
});
