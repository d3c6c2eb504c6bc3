"""Runs inside Blender, by itself: renders a mesh with glTF materials under a panorama, as `relight_blender` asks.

    blender --background --factory-startup --python blender_scene.py -- job.json

Nothing of rilievo is imported here. The pictures are EXR: linear light times coverage, and coverage.
"""

import json
import sys

import bpy
from mathutils import Matrix

SENSOR = 36.0
"""Width of Blender's sensor; only its ratio to the focal length matters."""


def main() -> None:
    with open(sys.argv[sys.argv.index("--") + 1], encoding="utf-8") as file:
        job = json.load(file)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=job["mesh"])
    for material in bpy.data.materials:
        prepare(material, job["albedo_scale"])
    surround(job["light"])
    scene = bpy.context.scene
    set_renderer(scene, job["samples"], job["bounces"])
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    for view in job["views"]:
        look_through(scene, camera, view)
        scene.render.filepath = view["picture"]
        bpy.ops.render.render(write_still=True)


def prepare(material, albedo_scale: list[float]) -> None:
    """Plain GGX, and the base colour multiplied."""
    nodes, links = material.node_tree.nodes, material.node_tree.links
    for shader in [n for n in nodes if n.type == "BSDF_PRINCIPLED"]:
        shader.distribution = "GGX"
        color = shader.inputs["Base Color"]
        if color.is_linked:
            product = nodes.new("ShaderNodeVectorMath")
            product.operation = "MULTIPLY"
            links.new(color.links[0].from_socket, product.inputs[0])
            product.inputs[1].default_value = albedo_scale
            links.new(product.outputs[0], color)
        else:
            color.default_value = [c * s for c, s in zip(color.default_value, [*albedo_scale, 1.0])]


def surround(panorama: str) -> None:
    world = bpy.data.worlds.new("light")
    bpy.context.scene.world = world
    world.use_nodes = True
    nodes, links = world.node_tree.nodes, world.node_tree.links
    nodes.clear()
    picture, light, out = (nodes.new(f"ShaderNode{kind}") for kind in ("TexEnvironment", "Background", "OutputWorld"))
    picture.image = bpy.data.images.load(panorama)
    links.new(picture.outputs["Color"], light.inputs["Color"])
    links.new(light.outputs["Background"], out.inputs["Surface"])


def set_renderer(scene, samples: int, bounces: int) -> None:
    scene.render.engine = "CYCLES"
    cycles = scene.cycles
    cycles.device = "CPU"
    cycles.samples = samples
    cycles.use_adaptive_sampling = cycles.use_denoising = False
    cycles.max_bounces = cycles.diffuse_bounces = cycles.glossy_bounces = bounces
    cycles.sample_clamp_direct = cycles.sample_clamp_indirect = 0.0
    cycles.blur_glossy = 0.0
    cycles.pixel_filter_type = "BOX"
    cycles.filter_width = 1.0
    scene.render.film_transparent = True
    scene.render.resolution_percentage = 100
    settings = scene.render.image_settings
    settings.file_format = "OPEN_EXR"
    settings.color_mode = "RGBA"
    settings.color_depth = "32"
    settings.exr_codec = "ZIP"


def look_through(scene, camera, view: dict) -> None:
    (width, height), (x, y) = view["size"], view["center"]
    scene.render.resolution_x, scene.render.resolution_y = width, height
    lens = camera.data
    lens.sensor_fit, lens.sensor_width = "HORIZONTAL", SENSOR
    lens.lens = view["focal"] * SENSOR / width
    lens.shift_x, lens.shift_y = 0.5 - x / width, (y - height / 2) / width
    lens.clip_start, lens.clip_end = 1e-3, 1e4
    camera.matrix_world = Matrix(view["pose"])


if __name__ == "__main__":
    main()
