"""Keeps the compositor's state on disk: when to save what, and what to do when that fails.

The files are :mod:`.snapshot`'s. Districts are saved before anybody sees them; the rest at an
interval and at the end. A full disk is a matter for health, not a reason to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from io import BytesIO
from typing import Final

import trio

from geoosd.compositor.adapters import snapshot
from geoosd.compositor.adapters.scene_file import SceneFile, encode_scene
from geoosd.compositor.adapters.snapshot import PlacesFile, StateFiles
from geoosd.compositor.adapters.themes import Themes, saved
from geoosd.compositor.core.field import Cells
from geoosd.compositor.core.layouts import Layout
from geoosd.compositor.core.places import Places
from geoosd.compositor.core.scene import Scene
from geoosd.compositor.core.thoughts import Thought
from geoosd.errors import reason_of
from geoosd.runtime.export import ExportedFile
from geoosd.runtime.health import Finding
from geoosd.runtime.service import Runtime
from geoosd.wire import events

_REMEMBERED: Final = 1 << 16


class Keeper:
    """The state directory of one compositor."""

    def __init__(self, runtime: Runtime, scene: Scene, themes: Themes) -> None:
        self._themes = themes
        self._runtime = runtime
        self._scene = scene
        self._files = StateFiles(runtime.state_dir)
        self._saving = trio.Lock()
        self._saving_scene = trio.Lock()
        self._saved_through = 0
        self._secured = 0
        self._unsaved: Places | None = None
        self._trouble: dict[str, str] = {}
        self._complaint: str | None = None

    async def restore(self) -> Places:
        """The saved places; fills the scene where it was saved, and chooses the saved theme.

        Raises :class:`~geoosd.errors.StartError` for places that are whole but not ours to read.
        """
        loaded = await trio.to_thread.run_sync(self._files.load_places)
        if loaded.theme is not None:
            self._themes.chosen = loaded.theme
        if self._keeps_tokens:
            scene = await trio.to_thread.run_sync(self._files.load_scene, loaded.districts)
            if scene is not None:
                self._scene.memory.restore(scene.keys, scene.weights, trio.current_time())
                self._scene.thoughts.restore(scene.thoughts)
                self._saved_through = self._scene.thoughts.count
        else:
            await self._write("scene", self._files.remove_scene)
        layouts = await trio.to_thread.run_sync(self._load_layouts, loaded.layouts)
        self._say_set_aside(self._files.complaints)
        return Places(loaded.districts, layouts)

    async def adopt(self, places: Places, model: str, layout: Layout | None) -> bool:
        """Place the tokens of *model* by *layout*, or by id; whether that is new.

        When this returns it is on disk. Raises OSError where the disk refuses, ValueError where
        there are too many; then nothing has changed.
        """
        async with self._saving:
            if layout is not None:
                await trio.to_thread.run_sync(self._files.save_layout, layout)
            before = places.layouts.get(model)
            if not places.adopt(model, layout):
                return False
            revision = places.revision
            if not await self._save_places(places):
                places.adopt(model, before)
                raise OSError(None, self._trouble["places"])
            self._secured = revision
            return True

    async def load_themes(self) -> None:
        """Read the themes anew, and say what cannot be used.

        Raises :class:`~geoosd.errors.StartError` when there is not even the default one.
        """
        loaded = await self._themes.load()
        for complaint in loaded.unusable:
            self._runtime.log.warning(complaint)
        self._say_set_aside(loaded.lost)

    async def secure(self, places: Places) -> None:
        """Return when all districts of *places* are on disk, or the disk has refused them."""
        if places.revision == self._secured:
            return
        async with self._saving:
            revision = places.revision
            if revision != self._secured and await self._save_places(places):
                self._secured = revision

    async def save_choice(self, places: Places) -> None:
        """Remember the chosen theme."""
        async with self._saving:
            await self._save_places(places)

    async def run(self) -> None:
        """Save at the configured interval what has come since, for ever."""
        while True:
            await trio.sleep(self._runtime.config.compositor.snapshot_interval)
            if self._scene.thoughts.count != self._saved_through or self._trouble:
                await self.save()  # else nothing but decay has happened

    async def save(self) -> bool:
        """Save the scene, or see to it that none is kept, as ``[bridge] record`` says; whether
        the disk has taken everything.

        Places that the disk refused before are tried again. The event loop copies the scene, which
        takes it a fraction of a millisecond; a thread does the rest.
        """
        if self._unsaved is not None:
            async with self._saving:
                await self._save_places(self._unsaved)
        if not self._keeps_tokens:
            await self._write("scene", self._files.remove_scene)
            return not self._trouble
        async with self._saving_scene:
            count, now = self._scene.thoughts.count, trio.current_time()
            memory, thoughts = self._scene.memory.at(now), self._scene.thoughts.all()
            write = partial(_save_scene, self._files, memory, thoughts)
            if await self._write("scene", write):
                self._saved_through = count
        return not self._trouble

    async def export(self, places: Places) -> list[ExportedFile]:
        """The state as it is now, whatever the disk says; no token is in it unless that is kept."""
        content = PlacesFile.of(places, self._themes.chosen)
        files = [ExportedFile("places.json", BytesIO(snapshot.encode_places(content)))]
        files += [
            ExportedFile(self._files.layout_path(version).name, BytesIO(data))
            for version, data in {
                layout.version: layout.data for layout in places.layouts.values()
            }.items()
        ]
        if self._keeps_tokens:
            now = trio.current_time()
            memory, thoughts = self._scene.memory.at(now), self._scene.thoughts.all()
            data = await trio.to_thread.run_sync(
                lambda: encode_scene(_scene_file(memory, thoughts))
            )
            files.append(ExportedFile("scene.npz", BytesIO(data)))
        themes = await trio.to_thread.run_sync(saved, self._runtime.state_dir)
        files += [ExportedFile(f"themes/{name}", BytesIO(data)) for name, data in themes.items()]
        return files

    def probe(self) -> Finding:
        """Whether the state is safe on disk."""
        directory = self._files.places_path.parent
        make_room = f"df -h {directory}; ls -ld {directory}"
        if reason := self._trouble.get("places"):
            return (
                "critical",
                f"cannot save the map in {directory}: {reason}; "
                "after a restart tokens of new models may lie elsewhere",
                make_room,
            )
        if reason := self._trouble.get("scene"):
            return (
                "critical",
                f"cannot save the scene in {directory}: {reason}; "
                "a restart would lose what is new in it",
                make_room,
            )
        if self._complaint is not None:
            return (
                "warning",
                self._complaint,
                "restore a backup by geoosctl restore, or go on; then: geoosctl restart compositor",
            )
        return "healthy", f"districts are safe in {directory}", None

    def _load_layouts(self, versions: Mapping[str, int]) -> dict[str, Layout]:
        """Those that can be read, by model. Blocks."""
        loaded = {
            model: self._files.load_layout(version, model) for model, version in versions.items()
        }
        return {model: layout for model, layout in loaded.items() if layout is not None}

    @property
    def _keeps_tokens(self) -> bool:
        return self._runtime.config.bridge.record == "full"

    def _say_set_aside(self, complaints: list[str]) -> None:
        for complaint in complaints:
            self._runtime.log.warning(complaint, **events.STATE_SET_ASIDE.fields)
        self._complaint = self._complaint or next(iter(complaints), None)

    async def _save_places(self, places: Places) -> bool:
        content = PlacesFile.of(places, self._themes.chosen)
        saved = await self._write("places", lambda: self._files.save_places(content))
        self._unsaved = None if saved else places
        return saved

    async def _write(self, what: str, write: Callable[[], None]) -> bool:
        """Whether the disk took it; a new reason why not is logged."""
        try:
            await trio.to_thread.run_sync(write)
        except OSError as error:
            reason = reason_of(error)
            if reason not in self._trouble.values():
                self._runtime.log.error(
                    "cannot save the map", error=reason, **events.SAVE_FAILED.fields
                )
            self._trouble[what] = reason
            return False
        self._trouble.pop(what, None)
        return True


def _save_scene(files: StateFiles, memory: Cells, thoughts: list[Thought]) -> None:
    """Blocks."""
    files.save_scene(_scene_file(memory, thoughts))


def _scene_file(memory: Cells, thoughts: list[Thought]) -> SceneFile:
    keys, weights = memory.strongest(_REMEMBERED)
    return SceneFile(keys, weights, [(thought.token, thought.at) for thought in thoughts])
