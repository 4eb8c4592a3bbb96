// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

"use strict";

const panel = document.getElementById("panel");
const notice = document.getElementById("notice");
const words = {
	wrong: "A wrong code was tried.",
	failed: "The POS was not connected. Here is another code.",
	renewed: "A POS has renewed its certificate.",
};
let ends = 0;

// restart notes when the code that is shown ends, by this page's own clock.
function restart() {
	const timer = document.getElementById("timer");
	ends = timer ? performance.now() + Number(timer.dataset.left) * 1000 : 0;
	tick();
}

function tick() {
	const clock = document.getElementById("clock");
	const ring = document.querySelector("#timer .ring");
	if (!ends || !clock || !ring) {
		return;
	}
	const left = Math.max(0, Math.round((ends - performance.now()) / 1000));
	clock.textContent = Math.floor(left / 60) + ":" + String(left % 60).padStart(2, "0");
	ring.setAttribute("stroke-dasharray", left + " 300");
}

// show replaces the panel and keeps the focus and what is open.
async function show() {
	const answer = await fetch("/panel", { cache: "no-store" });
	if (!answer.ok) {
		return;
	}
	const text = await answer.text();
	const focus = document.activeElement && panel.contains(document.activeElement) ? document.activeElement.id : "";
	const open = [...panel.querySelectorAll("details[open]")].map((d) => d.id);
	panel.innerHTML = text;
	for (const id of open) {
		const d = document.getElementById(id);
		if (d) {
			d.open = true;
		}
	}
	const next = document.getElementById(focus) || panel.querySelector("#stage button");
	if (focus && next) {
		next.focus();
	}
	restart();
}

// A tap is sent without leaving the page.
panel.addEventListener("submit", async (event) => {
	event.preventDefault();
	const form = event.target;
	const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)), redirect: "manual" });
	notice.textContent = "";
	if (answer.type !== "opaqueredirect" && !answer.ok) {
		notice.textContent = await answer.text();
	}
	await show();
});

const events = new EventSource("/events");
events.onmessage = (event) => {
	const what = JSON.parse(event.data);
	if (what.kind !== "code" || words.failed !== notice.textContent) {
		notice.textContent = words[what.kind] || "";
	}
	show();
};

restart();
setInterval(tick, 250);
