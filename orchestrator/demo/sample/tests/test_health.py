import unittest

import service


class Health(unittest.TestCase):
    def test_a_shop_that_sells_something_is_well(self):
        status, body = service.answer("/health", "staging", "v1")
        self.assertEqual((status, body["version"], body["problems"]), (200, "v1", []))

    def test_products_are_listed(self):
        self.assertTrue(service.answer("/products", "staging", "v1")[1]["products"])

    def test_any_other_path_is_not_found(self):
        self.assertEqual(service.answer("/", "staging", "v1")[0], 404)
