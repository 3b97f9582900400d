"""Build the image anew when its recipe changed; an image of the same recipe is fresh, whoever built it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orchestrator.domain.configuration import ImageRecipe
from orchestrator.domain.errors import LostRaceError, NotFoundError, PermanentError
from orchestrator.domain.images import digest_at
from orchestrator.domain.ownership import HeldLease, LostRace
from orchestrator.domain.stages import EffectKind
from orchestrator.effects.contract import Absent, EffectContext, Impossible, Landed, Seen
from orchestrator.ports import CommandResult
from orchestrator.store import images

_SHOWN: Final = 2_000


class RebuildImage:
    """The tag names commit and recipe, so what is built twice after a crash is one image; its row comes last."""

    kind: EffectKind = EffectKind.REBUILD_IMAGE
    keyless: bool = False

    def target(self, context: EffectContext) -> str:
        return _sha(context)

    def request(self, context: EffectContext) -> Mapping[str, str]:
        """``recipe`` is the digest, empty when no recipe is configured."""
        sha, recipe = _sha(context), context.repository.image
        if recipe is None:
            return {"sha": sha, "tag": "", "recipe": ""}
        digest = digest_at(context.ports.workspaces, sha, recipe)
        return {"sha": sha, "tag": f"{sha[:12]}-{digest[:12]}", "recipe": digest}

    def look(self, context: EffectContext) -> Seen:
        """``Landed.result``: the ``tag`` of the fresh image, which may be an older one of the same recipe."""
        if not context.request["recipe"]:
            return Landed({"skipped": "no image recipe is configured"})
        with context.store.transaction() as connection:
            tag = images.newest_tag(connection, context.view.project, context.request["recipe"])
        if tag is not None:
            return Landed({"tag": tag, "recipe": context.request["recipe"]})
        recipe = _recipe_as_decided(context)
        return Absent() if recipe else Impossible("the commit is gone or its image recipe is no longer what it was")

    def act(self, context: EffectContext, lease: HeldLease) -> None:
        """Raises PermanentError with the end of the output when the command fails."""
        recipe, request = _recipe_as_decided(context), context.request
        if recipe is None:
            return
        environment = {"ORCH_IMAGE_TAG": request["tag"], "ORCH_SHA": request["sha"]}
        with context.ports.workspaces.checkout(request["sha"]) as folder:
            # The point of no return: a registry may have the image from here on.
            built = context.children.run(
                recipe.command, cwd=folder, timeout_s=recipe.timeout_s, environment=environment
            )
        if built.exit_code != 0 or built.timed_out:
            raise PermanentError(_failure(recipe, built), remedy="see the image recipe in .orchestrator.yml")
        image = images.BuiltImage(context.view.project, request["tag"], request["recipe"])
        with context.store.transaction(lease.actor) as connection:
            outcome = images.record_if_epoch_holds(connection, lease, image)
        if isinstance(outcome, LostRace):
            raise LostRaceError(outcome.why)

    def revoke(self, context: EffectContext, lease: HeldLease) -> None:
        """Nothing to do: an image that nobody deploys is harmless, and its row carries the epoch."""


def _sha(context: EffectContext) -> str:
    sha = context.candidate.commit_sha if context.candidate else context.view.merged_sha or context.view.head_sha
    if sha is None:
        raise PermanentError(f"{context.view.work_item} has no commit to build an image of")
    return sha


def _recipe_as_decided(context: EffectContext) -> ImageRecipe | None:
    """The configured recipe, if it is still the one of the claim: configuration may have changed since."""
    recipe = context.repository.image
    if recipe is None:
        return None
    try:
        digest = digest_at(context.ports.workspaces, context.request["sha"], recipe)
    except NotFoundError:
        return None  # the merge result of another node, never published and never merged
    return recipe if digest == context.request["recipe"] else None


def _failure(recipe: ImageRecipe, built: CommandResult) -> str:
    how = f"ran longer than {recipe.timeout_s} s" if built.timed_out else f"left with {built.exit_code}"
    return f"the image build {how}: {built.output[-_SHOWN:].strip()}"
